"""The answer to a query as a simple chart: what its rows are called against what is counted or measured of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from forgetless.curator.report.chart import Chart, Dot, Track, between
from forgetless.curator.report.svg import Axis

BARS, SERIES, LABEL = 40, 3, 60
"""Rows that are drawn as bars, columns of figures, letters of a row's name."""
LINES = 6
"""Columns of figures that are drawn as lines."""
FEWEST = 3
"""Points of a line."""
APART = 20
"""Columns whose largest values differ by a larger factor do not share an axis."""
DOTS = 40
"""Points of a line that are drawn as dots; more are only joined."""
LARGEST = 1e300
"""Beyond, axes would overflow."""
NOTHING = "\N{EN DASH}"

_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL")
_TIME = re.compile(r"DATE|TIMESTAMP")


@dataclass(frozen=True)
class Named:
    """A column: its name, its type as DuckDB says it, its values."""

    name: str
    type: str
    values: Sequence[Any]

    @property
    def is_number(self) -> bool:
        """Whether it can be drawn."""
        return _NUMBER.match(self.type) is not None

    @property
    def numbers(self) -> list[float | None]:
        """None where there is none, or none that can be drawn."""
        return [float(v) if isinstance(v, int | float) and abs(v) < LARGEST else None for v in self.values]


@dataclass(frozen=True)
class BarsOf:
    """Rows, each with a bar for every column of figures; every column has its own axis."""

    labels: list[str]
    columns: list[Named]
    axes: list[Axis]
    left_out: int
    """Rows beyond `BARS`."""


@dataclass(frozen=True)
class TimeAxis(Axis):
    """Seconds since 1970, as days and times."""

    def label(self, tick: float) -> str:
        days = (self.high - self.low) / 86400
        form = "%-d %b %Y" if days > 4 else "%-d %b %H:%M" if days > 0.02 else "%H:%M:%S"
        return datetime.fromtimestamp(tick, UTC).strftime(form)


def chart_of(columns: Sequence[Named]) -> list[Chart] | BarsOf | None:
    """Lines over the first column where it counts or tells time, else bars; None where nothing can be drawn."""
    rows = len(columns[0].values) if columns else 0
    figures = [
        column
        for column in columns[1:]
        if column.is_number and any(value is not None for value in column.numbers)
    ]
    if not rows or not figures:
        return None
    return _lines(columns[0], figures[:LINES]) or _bars(columns, figures[:SERIES])


def _lines(first: Named, figures: Sequence[Named]) -> list[Chart]:
    """Together where one axis serves all; else each by itself. None where the first column is no axis."""
    places = first.numbers if first.is_number else _times(first)
    known = [place for place in places if place is not None]
    if len(known) < max(FEWEST, len(places)) or len(set(known)) < len(known):
        return []
    across = between(min(known), max(known)) if first.is_number else _time_axis(min(known), max(known))
    sizes = [max(abs(value) for value in column.numbers if value is not None) for column in figures]
    together = max(sizes) <= APART * max(min(sizes), 1e-300)
    return [
        _chart(first, places, across, group)
        for group in ([figures] if together else [[column] for column in figures])
    ]


def _chart(first: Named, places: Sequence[float | None], across: Axis, figures: Sequence[Named]) -> Chart:
    mark: Literal["dot", "none"] = "dot" if len(places) <= DOTS else "none"
    tracks = [
        Track(column.name, number, _dots(places, column.numbers), number, mark)
        for number, column in enumerate(figures)
    ]
    every = [dot.y for track in tracks for dot in track.dots]
    low = 0.0 if 0 <= min(every) < max(every) / 2 else min(every)
    title = figures[0].name if len(figures) == 1 else ""
    return Chart("result", "Result", across, first.name, between(low, max(every)), title, tracks)


def _dots(places: Sequence[float | None], values: Sequence[float | None]) -> list[Dot]:
    pairs = [(x, y) for x, y in zip(places, values, strict=True) if x is not None and y is not None]
    return [Dot(x, y) for x, y in sorted(pairs)]


def _times(column: Named) -> list[float | None]:
    return [_seconds(value) for value in column.values] if _TIME.match(column.type) else []


def _seconds(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _time_axis(low: float, high: float) -> TimeAxis:
    high = max(high, low + 1)
    return TimeAxis(low, high, [low, high])


def _bars(columns: Sequence[Named], figures: Sequence[Named]) -> BarsOf:
    names = [column for column in columns if not column.is_number] or columns[:1]
    rows = list(zip(*(column.values for column in names), strict=True))
    labels = [", ".join(NOTHING if value is None else str(value) for value in row)[:LABEL] for row in rows]
    shown = [Named(each.name, each.type, each.values[:BARS]) for each in figures]
    return BarsOf(labels[:BARS], shown, [_axis(column.numbers) for column in shown], max(len(rows) - BARS, 0))


def _axis(values: Sequence[float | None]) -> Axis:
    known = [0.0, *(value for value in values if value is not None)]
    return between(min(known), max(known), 4)
