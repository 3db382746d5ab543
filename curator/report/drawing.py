"""Charts and bars as SVG for the page: widths in percent, so that they fit any screen and text keeps its size."""

from markupsafe import Markup

from forgetless.curator.report.chart import Bars, Chart, Dot, Track, ends
from forgetless.curator.report.labels import Place, places
from forgetless.curator.report.svg import EDGE, Axis, grid, scale

HEIGHT = 260
WIDTHS = (270.0, 570.0)
"""Pixels that a chart with labels is between, on a phone and on a wide screen."""
BAR = 14
"""Height of a bar."""
_SVG = Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>')


def drawn(chart: Chart) -> Markup:
    """The chart with the numbers of both axes; its titles are the page's."""
    inside = grid(chart.across) + _levels(chart.up)
    for x, colour, said in chart.marked:
        at = chart.across.at(x)
        inside += Markup(
            '<g class="g-{0}"><line class="k-line kept" x1="{1}%" x2="{1}%" y1="0" y2="100%"/></g>'
            '<text class="tick" x="{1}%" y="-5" text-anchor="{2}">{3}</text>'
        ).format(colour, at, "end" if at > 80 else "start" if at < 20 else "middle", said)
    inside += Markup("").join(_line(track, chart) for track in chart.tracks)
    inside += Markup("").join(_dot(dot, track, chart) for track in chart.tracks for dot in track.dots)
    return _SVG.format("curves", HEIGHT, inside + _labels(chart)) + scale(chart.across)


def bars(task: Bars) -> Markup:
    """A task's bars, one below the other."""
    axis = Axis(0.0, 1.0, [0, 0.25, 0.5, 0.75, 1], percent=True)
    inside = grid(axis)
    for row, (colour, accuracy) in enumerate(task.bars):
        inside += _bar("before" if colour is None else f"k g-{colour}", accuracy.mean, axis, row)
        if (reach := ends(accuracy)) and colour is not None:
            y = row * (BAR + 3) + BAR / 2
            inside += Markup('<line class="whisker" x1="{}%" x2="{}%" y1="{y}" y2="{y}"/>').format(
                axis.at(reach[0]), axis.at(reach[1]), y=y
            )
    return _SVG.format("row", len(task.bars) * (BAR + 3), inside)


def _bar(name: str, value: float, axis: Axis, row: int) -> Markup:
    width = round(max(axis.at(value) - EDGE, 0.3), 3)
    return Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"/>').format(
        name, EDGE, row * (BAR + 3), width, BAR
    )


def _levels(up: Axis) -> Markup:
    return Markup("").join(
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
            '<text class="tick" x="-8" y="{1}" text-anchor="end">{2}</text>'
        ).format(_y(tick, up), _y(tick, up) + 4, up.label(tick))
        for tick in up.ticks
    )


def _line(track: Track, chart: Chart) -> Markup:
    points = " ".join(f"{chart.across.at(d.x)},{round(100 - chart.up.at(d.y), 3)}" for d in track.dots)
    return Markup(
        '<svg width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none"><g class="g-{}">'
        '<polyline class="k-line dash-{}" vector-effect="non-scaling-stroke" points="{}"/></g></svg>'
    ).format(HEIGHT, track.colour, track.dash, points)


def _dot(dot: Dot, track: Track, chart: Chart) -> Markup:
    if track.mark == "none":
        return Markup("")
    x, y = chart.across.at(dot.x), _y(dot.y, chart.up)
    inside = Markup("")
    if dot.wide:
        span = chart.across.at(dot.wide[0]), chart.across.at(dot.wide[1])
        inside += Markup('<line class="k-line thin" x1="{}%" x2="{}%" y1="{y}" y2="{y}"/>').format(*span, y=y)
    if dot.high:
        span = _y(dot.high[0], chart.up), _y(dot.high[1], chart.up)
        inside += Markup('<line class="k-line thin" x1="{x}%" x2="{x}%" y1="{}" y2="{}"/>').format(*span, x=x)
    inside += Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"/>').format(
        "ring" if track.mark == "ring" else "k", x, y, 5 if track.mark == "ring" else 4
    )
    return Markup('<g class="g-{}">{}</g>').format(track.colour, inside)


def _labels(chart: Chart) -> Markup:
    dots = [dot for track in chart.tracks for dot in track.dots if track.mark != "none"]
    at = [(chart.across.at(dot.x) / 100, 1 - chart.up.at(dot.y) / 100) for dot in dots]
    named = [i for i, dot in enumerate(dots) if dot.label]
    others = [at[i] for i in range(len(dots)) if i not in named]
    texts = [dots[i].label for i in named]
    found = places([at[i] for i in named], texts, [(width, HEIGHT) for width in WIDTHS], others)
    return Markup("").join(
        _label(text, *at[i], place) for i, text, place in zip(named, texts, found, strict=True) if place
    )


def _label(text: str, x: float, y: float, place: Place) -> Markup:
    return Markup('<text class="label" x="{}%" y="{}" dx="{}" text-anchor="{}">{}</text>').format(
        round(100 * x, 3), round(HEIGHT * y + place.y, 2), place.x, place.anchor, text
    )


def _y(value: float, up: Axis) -> float:
    return round(HEIGHT * (1 - up.at(value) / 100), 2)
