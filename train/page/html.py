"""A report on runs as one HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forgetless.curator.report.chart import Bars, Chart
from forgetless.curator.report.document import document
from forgetless.curator.report.drawing import bars, drawn
from forgetless.curator.report.resampling import Interval
from forgetless.curator.report.visible import tangible
from forgetless.train.page import charts
from forgetless.train.page.groups import Group, differing, grouped
from forgetless.train.page.mask import Mask, Weighed, levels, mask, undecided, weighing
from forgetless.train.page.runs import Run
from forgetless.train.report import SourcePlan, unit_of

TEMPLATE = Path(__file__).parent / "template"


@dataclass(frozen=True)
class RunsReport:
    """All that a report on runs shows."""

    groups: list[Group]
    curve: Chart | None
    steps: Chart | None
    loss: Chart | None
    average: Chart | None
    tasks: list[Bars]
    masks: list[Mask]
    unshown: list[str]
    """Why a mask is not shown."""
    made: datetime

    @property
    def charts(self) -> list[Chart]:
        """Those that there are."""
        return [c for c in (self.curve, self.steps, self.loss, self.average) if c]


def runs_report(runs: Sequence[Run], examples: int = 5) -> RunsReport:
    """Runs grouped by their settings, and what is to be drawn of them."""
    groups = grouped(runs)
    masks = [mask(g.label, g.runs[0], examples) for g in groups if weighing(g.runs[0]) and examples]
    return RunsReport(
        groups,
        charts.plane(groups),
        charts.over_steps(groups),
        charts.losses(groups),
        charts.averaging(groups),
        charts.task_bars(groups),
        [each for each in masks if isinstance(each, Mask)],
        [each for each in masks if isinstance(each, str)]
        + [decided for g in groups if (decided := undecided(g))],
        datetime.now(UTC),
    )


def render(report: RunsReport) -> str:
    """The page."""
    return document(
        "run.html", TEMPLATE, (TEMPLATE / "run.css").read_text(), r=report, groups=report.groups,
        several=len(report.groups) > 1, seeds=any(len(group.runs) > 1 for group in report.groups),
        settings=differing(report.groups), drawn=drawn, bars=bars, weights=weights, levels=levels(report.masks),
        cell=cell, unit_of=unit_of, keys=keys(report.groups), share_of=share_of, accuracy=accuracy,
    )  # fmt: skip


def accuracy(interval: Interval | None) -> str:
    """A share in percent, with half the width of its interval."""
    return "\N{EN DASH}" if interval is None else cell(interval, 100, ".1f")


def cell(interval: Interval, scale: int, form: str) -> str:
    """A mean, and of several seeds ± half the width of its 95 % interval."""
    said = f"{interval.mean * scale:{form}}"
    if math.isnan(interval.low):
        return said
    return f"{said} ± {(interval.high - interval.mean) * scale:{form.lstrip('+')}}"


def keys(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Task and metric of every row of the table."""
    return list(dict.fromkeys(key for group in groups for key in group.lines))


def share_of(source: SourcePlan) -> str:
    """How much of a source is mixed in."""
    what = "target tokens" if source.unit == "tokens" else "examples"
    return f"{source.records:,} records, {source.share:.1%} of the targets in {what}"


def weights(tokens: Sequence[Weighed]) -> Markup:
    """Tokens one behind another; each target carries position|id|log-prob|||weight, and says them without a script."""
    return Markup("").join(map(_token, tokens))


def _token(w: Weighed) -> Markup:
    text = tangible(w.piece) if w.piece.strip(" ") else w.piece.replace(" ", "␣")
    text += "\n" if "\n" in w.piece else ""
    if not w.is_target:
        return Markup("<span>{}</span>").format(text)
    numbers: tuple[Any, ...] = (
        w.position, w.token_id, "" if w.logprob is None else f"{w.logprob:.4g}", "", "", f"{w.weight:.4g}"
    )  # fmt: skip
    tag = "del" if w.level == 0 else "span"
    return Markup('<{tag} class="t w{}" data-v="{}">{}</{tag}>').format(
        w.level, "|".join(map(str, numbers)), text, tag=Markup(tag)
    )
