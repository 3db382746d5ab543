"""The lecture's bars: a comparison as a picture."""

from pathlib import Path

from forgetless.curator.report.answers import KINDS
from forgetless.curator.report.bars import OKABE_ITO, Bar, Panel, draw
from forgetless.curator.report.comparison import Comparison, Figures
from forgetless.curator.report.order import figure
from forgetless.schemas.tables import HARD_PERPLEXITY

COLOURS = dict(zip(KINDS, OKABE_ITO, strict=False))


def draw_comparison(comparison: Comparison, path: Path) -> Path | None:
    """Mean perplexity with its interval, beside it the share of hard tokens; the path of the picture.

    None, and no file, where nothing is scored.
    """
    shown = [line.equal if comparison.prompts else line.all for line in comparison.lines]
    if not any(figures and figures.perplexity for figures in shown):
        return None
    panels = [
        Panel("mean perplexity", [_perplexity(figures) for figures in shown], least=1.0),
        Panel("hard tokens, %", [_hard(figures) for figures in shown]),
    ]
    title = f"{comparison.task}: how hard the answers are for the base model"
    over = (
        f"Over the {comparison.prompts:,} prompts with an own, scored answer in every line"
        if comparison.prompts
        else "Each line over all its own rows, whose prompts differ"
    )
    labels = [line.label for line in comparison.lines]
    draw(
        path,
        title,
        labels,
        [COLOURS[line.kind] for line in comparison.lines],
        panels,
        f"Perplexity: geometric mean, with its 95 % interval. Hard: perplexity > {HARD_PERPLEXITY}.\n{over}.",
    )
    return path


def _perplexity(figures: Figures | None) -> Bar:
    if figures is None or figures.perplexity is None:
        return Bar(None, "no own scored answer")
    value = figures.perplexity
    return Bar(value.mean, figure(value.mean), value.low, value.high)


def _hard(figures: Figures | None) -> Bar:
    if figures is None or figures.hard_share is None:
        return Bar(None, "")
    return Bar(figures.hard_share * 100, f"{figures.hard_share:.1%}")
