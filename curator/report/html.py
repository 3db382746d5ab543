"""A store's report as one HTML page."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from forgetless.curator.report import svg
from forgetless.curator.report.answers import ALL_KINDS
from forgetless.curator.report.distribution import TOKEN_STEP, Distribution
from forgetless.curator.report.document import document
from forgetless.curator.report.examples import SHOWN_TOKENS
from forgetless.curator.report.hardest import AROUND, POOL
from forgetless.curator.report.heatmap import LEVELS, Mark
from forgetless.curator.report.order import figure, interval_text
from forgetless.curator.report.overview import Overview
from forgetless.curator.report.survival import Ending, Stage
from forgetless.curator.report.templates import PAGE
from forgetless.curator.report.visible import tangible
from forgetless.schemas.tables import HARD_PERPLEXITY

THRESHOLDS = [math.exp(TOKEN_STEP * edge) for edge in range(6, 231, 4)]
"""Where the page can set the threshold: from 1.13 to 98, with 2.5 among them."""
CHUNK, LONGEST_CHUNK = 200, 600
"""Tokens."""
_TOKEN = Markup('<span class="{}" data-v="{}">{}</span>{}')
DEFAULT = min(range(len(THRESHOLDS)), key=lambda i: abs(THRESHOLDS[i] - HARD_PERPLEXITY))


def render(overview: Overview) -> str:
    """The page."""
    return document("page.html", PAGE, level_styles(), **values(overview))


def values(overview: Overview, address: Callable[[str], str] | None = None) -> dict[str, Any]:
    """What the page's templates work with. `address`: where the record of an id is shown."""
    return {
        "o": overview, "address": address, **_figures(overview.distributions),
        "svg": svg, "heatmap": heatmap, "LEVELS": LEVELS, "HARD": HARD_PERPLEXITY, "THRESHOLDS": THRESHOLDS,
        "DEFAULT": DEFAULT, "SHOWN_TOKENS": SHOWN_TOKENS, "KINDS": ALL_KINDS, "AROUND": AROUND, "POOL": POOL,
        "figure": figure, "interval_text": interval_text, "axis_of": _axis_of,
        "parts_of": _parts_of, "named_endings": _named_endings, "classes_of": _classes_of,
        "kinds_of_hardest": [kind for kind in ALL_KINDS if any(h.kind == kind for h in overview.hardest)],
        "has_examples": any(each.examples for each in overview.versions),
        "refused": [(s, e) for s in overview.stages for e in s.endings if e.role == "refused"],
    }  # fmt: skip


def heatmap(marks: Sequence[Mark], kept: Collection[int] = ()) -> Markup:
    """Tokens one behind another; each carries its numbers as position|id|log-prob|rank|entropy.

    `kept`: positions that no mask drops.
    """
    found = []
    for coloured, group in groupby(marks, lambda m: m.level is not None):
        if coloured:
            found += [_token(m, m.position in kept) for m in group]
        else:
            found.append(Markup("<span>{}</span>").format("".join(_text(m) + _break(m) for m in group)))
    return Markup("").join(found)


def chunks(marks: Sequence[Mark]) -> Iterator[Sequence[Mark]]:
    """Pieces of a long heatmap that can be laid out apart: each ends with a line, unless lines are very long."""
    start = 0
    for place, m in enumerate(marks, 1):
        if place - start >= LONGEST_CHUNK or (place - start >= CHUNK and "\n" in m.piece):
            yield marks[start:place]
            start = place
    if start < len(marks):
        yield marks[start:]


def _text(m: Mark) -> str:
    return tangible(m.piece) if m.piece.strip(" ") else m.piece.replace(" ", "␣")


def _break(m: Mark) -> str:
    """Outside of the token's box, which would go on in the next line."""
    return "\n" if "\n" in m.piece else ""


def _token(m: Mark, is_kept: bool) -> Markup:
    assert m.level
    name = f"t l{LEVELS.index(m.level)}" + (" e" if is_kept else " h" if m.is_hard else "")
    exact = None if m.logprob is None else f"{m.logprob:.9g}"  # a mask compares it
    numbers = (m.position, m.token_id, exact, m.rank, _number(m.entropy))
    return _TOKEN.format(name, "|".join("" if n is None else str(n) for n in numbers), _text(m), _break(m))


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _figures(found: Sequence[Distribution]) -> dict[str, Any]:
    """Axes and curves, which all kinds share."""
    above = {d.kind: [round(d.above(threshold), 4) for threshold in THRESHOLDS] for d in found}
    lines = [(kind, list(zip(THRESHOLDS, shares, strict=True))) for kind, shares in above.items()]
    up = svg.share_axis(max((share for shares in above.values() for share in shares), default=1.0))
    across = svg.Axis(THRESHOLDS[0], THRESHOLDS[-1], [1.5, HARD_PERPLEXITY, 5, 10, 20, 50], logarithmic=True)
    return {
        "above": above,
        "curves": svg.curves(lines, across, up),
        "curve_axis": across,
        "hard_axis": svg.share_axis(max((d.hard.high for d in found), default=1.0)),
        "record_axis": _axis_of([d.record_quantiles.p95 * 1.5 for d in found]),
        "token_axis": _axis_of([d.token_quantiles.p95 for d in found]),
    }


def _axis_of(values: Sequence[float]) -> svg.Axis:
    return svg.perplexity_axis(max(values, default=10.0))


def _named_endings(stage: Stage) -> list[tuple[Ending, str]]:
    """Each ending with the class of its colour; from the fourth that refuses on, they share one."""
    refusing = [ending for ending in stage.endings if ending.role == "refused"]
    return [
        (e, f"refused-{min(refusing.index(e), 3)}" if e.role == "refused" else e.role) for e in stage.endings
    ]


def _parts_of(stage: Stage) -> list[tuple[str, float]]:
    return [(name, ending.rows / stage.rows) for ending, name in _named_endings(stage)]


def _classes_of(d: Distribution) -> list[tuple[str, float]]:
    return [(f"l{level}", count / d.tokens) for level, count in enumerate(d.levels) if count]


def level_styles() -> str:
    """The colours of the classes of perplexity."""
    return "".join(
        f".l{i}{{--level:{level.background};background:{level.background};color:{level.foreground};fill:{level.background}}}"
        f".on.l{i}{{fill:{level.foreground}}}"
        for i, level in enumerate(LEVELS)
    )
