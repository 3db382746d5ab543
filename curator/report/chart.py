"""What is drawn between two axes, and bars of accuracies, whoever draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from forgetless.curator.report.resampling import Interval
from forgetless.curator.report.svg import Axis


@dataclass(frozen=True)
class Dot:
    """A point of a line."""

    x: float
    y: float
    label: str = ""
    wide: tuple[float, float] | None = None
    """Ends of its interval along x."""
    high: tuple[float, float] | None = None
    """Ends of its interval along y."""


@dataclass(frozen=True)
class Track:
    """Dots, in the order they are joined."""

    label: str
    """In the legend; without one it is not in it."""
    colour: int
    """Place among the colours."""
    dots: list[Dot]
    dash: int = 0
    """Place among the ways of drawing a line."""
    mark: Literal["dot", "ring", "none"] = "dot"


@dataclass(frozen=True)
class Chart:
    """Lines between two axes."""

    name: str
    """Of its file."""
    title: str
    across: Axis
    across_title: str
    up: Axis
    up_title: str
    tracks: list[Track]
    note: str = ""
    marked: list[tuple[float, int, str]] = field(default_factory=list)
    """Places along x that are pointed out, each with a colour and what is said of it."""


@dataclass(frozen=True)
class Bars:
    """A task's bars."""

    task: str
    role: str
    bars: list[tuple[int | None, Interval]]
    """Place of a group's colour, None for the base before it, and accuracy."""


def linear(highest: float) -> Axis:
    """From 0 to the next round number above `highest`, with at most six ticks."""
    scale = 10.0 ** math.floor(math.log10(max(highest, 1e-6)))
    step = next(scale * s for s in (0.2, 0.25, 0.5, 1, 2, 2.5) if 5 * scale * s >= highest)
    count = max(math.ceil(round(highest / step, 6)), 1)
    return Axis(0.0, step * count, [round(step * i, 10) for i in range(count + 1)])


def share(tracks: Sequence[Track], along: Literal["x", "y"]) -> Axis:
    """From 0 to 100 %, or further where there is more."""
    highest = max((getattr(dot, along) for track in tracks for dot in track.dots), default=1.0)
    return replace(linear(max(highest, 1.0)), percent=True)


def said_once(tracks: Sequence[Track]) -> list[Track]:
    """The same, with a label that several dots would have at one place, such as the base's, at the first of them."""
    seen: set[tuple[str, float, float]] = set()

    def said(dot: Dot) -> Dot:
        key = dot.label, round(dot.x, 3), round(dot.y, 3)
        first = key not in seen
        seen.add(key)
        return dot if first else replace(dot, label="")

    return [replace(track, dots=[said(dot) for dot in track.dots]) for track in tracks]


def ends(interval: Interval) -> tuple[float, float] | None:
    """What of an interval of accuracies can be; None of a single seed."""
    return (
        None
        if math.isnan(interval.low)
        else (max(interval.low, 0.0), max(min(interval.high, 1.0), interval.mean))
    )


def between(low: float, high: float, most: int = 5) -> Axis:
    """From the round number below `low` to the one above `high`, with about `most` steps."""
    span = max(high - low, abs(high) * 1e-6, 1e-9)
    scale = 10.0 ** math.floor(math.log10(span / most))
    step = next(scale * s for s in (1, 2, 2.5, 5, 10) if scale * s * most >= span * 0.999)
    first, last = math.floor(round(low / step, 6)), math.ceil(round(high / step, 6))
    last = max(last, first + 1)
    ticks = [round(step * i, 12) for i in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)
