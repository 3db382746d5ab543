"""Figures as SVG for a page: sized in percent, so that they fit any width and their text keeps its size.

Colours are the page's: shapes carry classes, of which `k` means "in the colour of its kind".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from forgetless.curator.report.distribution import RECORD_BINS, Quantiles
from forgetless.curator.report.resampling import Interval

EDGE = 1.5
"""Percent of the width left free at both ends."""
CURVES_HEIGHT = 240
_FRAME = Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>')
_AREA = Markup(
    '<svg y="{}" width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg>'
)


@dataclass(frozen=True)
class Axis:
    """Values of `low` to `high` along the width, linear or logarithmic."""

    low: float
    high: float
    ticks: list[float]
    logarithmic: bool = False
    percent: bool = False

    def at(self, value: float) -> float:
        """Percent of the width; what lies outside is put at the end."""
        low, high, value = (
            math.log(v) if self.logarithmic else v for v in (self.low, self.high, max(value, self.low))
        )
        return round(EDGE + (100 - 2 * EDGE) * min((value - low) / (high - low), 1.0), 3)

    def label(self, tick: float) -> str:
        """As it is written below the axis."""
        if tick >= 1e6:
            return f"{tick / 1e6:,g}M"
        return f"{tick:.0%}" if self.percent else f"{tick:,.6g}"


def perplexity_axis(highest: float) -> Axis:
    """From 1 to the next round number above `highest`."""
    high = next((t for t in _round_numbers() if t >= highest and t >= 2), 1e9)
    ticks = [1.0, *(t for t in _round_numbers() if t <= high)]
    if len(ticks) > 7:
        ticks = [10.0**power for power in range(math.ceil(math.log10(high)) + 1)]
    while len(ticks) > 5 and ticks[-1] >= 1e5:
        ticks = ticks[::2]
    return Axis(1.0, max(high, ticks[-1]), ticks, logarithmic=True)


def share_axis(highest: float) -> Axis:
    """From 0 to the next round share above `highest`."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if s == 0.25 or highest <= 5 * s)
    count = min(max(math.ceil(highest / step), 1), round(1 / step))
    return Axis(0.0, step * count, [step * i for i in range(count + 1)], percent=True)


def scale(axis: Axis) -> Markup:
    """The numbers below a column of figures."""
    texts = [
        Markup('<text x="{}%" y="13" text-anchor="{}">{}</text>').format(
            axis.at(tick), _anchor(axis.at(tick)), axis.label(tick)
        )
        for tick in axis.ticks
    ]
    return _FRAME.format("scale", 18, Markup("").join(texts))


def ridge(bins: Sequence[int], quantiles: Quantiles, axis: Axis) -> Markup:
    """Records by perplexity as an area; below it a line from 5 to 95 %, a bar from 25 to 75 %, the median."""
    steps = "".join(
        f"L{axis.at(10 ** (i / RECORD_BINS))} {y} L{axis.at(10 ** ((i + 1) / RECORD_BINS))} {y}"
        for i, y in enumerate(round(100 - 100 * count / max(bins), 2) for count in bins)
    )
    end = axis.at(10 ** (len(bins) / RECORD_BINS))
    area = _AREA.format(
        2, 30, Markup('<path class="k soft" d="M{0} 100 {1} L{2} 100 Z"/>').format(axis.at(1), steps, end)
    )
    return _FRAME.format("row", 46, grid(axis) + area + _box(quantiles, axis, 39))


def strip(quantiles: Quantiles, axis: Axis) -> Markup:
    """A line from 5 to 95 %, a bar from 25 to 75 %, the median."""
    return _FRAME.format("row", 26, grid(axis) + _box(quantiles, axis, 13))


def dot(interval: Interval, axis: Axis) -> Markup:
    """A mean and its interval."""
    low, mean, high = (axis.at(v) for v in (interval.low, interval.mean, interval.high))
    marks = Markup(
        '<line class="k-line" x1="{0}%" x2="{2}%" y1="13" y2="13" stroke-width="3"/>'
        '<line class="k-line" x1="{0}%" x2="{0}%" y1="8" y2="18" stroke-width="1.5"/>'
        '<line class="k-line" x1="{2}%" x2="{2}%" y1="8" y2="18" stroke-width="1.5"/>'
        '<circle class="k" cx="{1}%" cy="13" r="5"/>'
    ).format(low, mean, high)
    return _FRAME.format("row", 26, grid(axis) + marks)


def bar(value: float | None, axis: Axis) -> Markup:
    """From zero to the value; nothing where there is none."""
    drawn = grid(axis)
    if value is not None:
        zero, end = axis.at(0.0), axis.at(value)
        drawn += Markup('<rect class="k" x="{}%" y="5" width="{}%" height="16"/>').format(
            min(zero, end), round(max(abs(end - zero), 0.3), 3)
        )
    return _FRAME.format("row", 26, drawn)


def stack(parts: Sequence[tuple[str, float]]) -> Markup:
    """(class, share) one behind another; shares that have room for it are written in."""
    drawn, start = Markup(""), 0.0
    for name, share in parts:
        # A hair of background between two parts, but no part without any width.
        drawn += Markup('<rect class="{}" x="{}%" y="2" width="{}%" height="22"/>').format(
            name, round(start * 100, 3), round(max(share * 100 - 0.15, 0.1), 3)
        )
        if share >= 0.1:
            drawn += Markup('<text class="on {}" x="{}%" y="17.5" text-anchor="middle">{}</text>').format(
                name, round((start + share / 2) * 100, 3), f"{share:.0%}"
            )
        start += share
    return _FRAME.format("row stack", 26, drawn)


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], across: Axis, up: Axis) -> Markup:
    """(kind, points) as lines over a grid, with the numbers of both axes and a movable line at the threshold."""
    height = CURVES_HEIGHT
    drawn = grid(across)
    for tick in up.ticks:
        y = round(height * (1 - up.at(tick) / 100), 2)
        drawn += Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y)
        drawn += Markup('<text class="tick" x="-8" y="{}" text-anchor="end">{}</text>').format(
            y + 4, up.label(tick)
        )
    paths = Markup("").join(
        Markup('<g class="k-{}"><polyline class="k-line dash-{}" vector-effect="non-scaling-stroke" points="{}"/></g>').format(
            kind, place, " ".join(f"{across.at(x)},{round(100 - up.at(y), 3)}" for x, y in points)
        )
        for place, (kind, points) in enumerate(lines)
    )  # fmt: skip
    return _FRAME.format("curves", height, drawn + _AREA.format(0, height, paths))


def grid(axis: Axis) -> Markup:
    """Thin lines at the ticks."""
    line = Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>')
    return Markup("").join(line.format(axis.at(tick)) for tick in axis.ticks)


def _box(quantiles: Quantiles, axis: Axis, y: float) -> Markup:
    q = {name: axis.at(value) for name, value in vars(quantiles).items()}
    return Markup(
        '<line class="k-line" x1="{p5}%" x2="{p95}%" y1="{y}" y2="{y}" stroke-width="1.5"/>'
        '<rect class="k" x="{p25}%" y="{top}" width="{wide}%" height="7" rx="2"/>'
        '<rect class="median" x="{p50}%" y="{over}" width="2.5" height="13" rx="1"/>'
    ).format(y=y, top=y - 3.5, over=y - 6.5, wide=round(max(q["p75"] - q["p25"], 0.2), 3), **q)


def _anchor(percent: float) -> str:
    return "start" if percent < 3 else "end" if percent > 97 else "middle"


def _round_numbers() -> list[float]:
    return [digit * 10.0**power for power in range(9) for digit in (1, 2, 5)][1:]
