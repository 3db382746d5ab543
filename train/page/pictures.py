"""The pictures of a report on runs as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from forgetless.curator.report.bars import OKABE_ITO, canvas
from forgetless.curator.report.chart import Bars, Chart, Dot, Track, ends
from forgetless.curator.report.labels import places
from forgetless.train.page.groups import Group
from forgetless.train.page.html import RunsReport
from forgetless.train.page.token_picture import draw_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = tuple(OKABE_ITO[place] for place in (4, 0, 3, 5, 1, 2))
"""In the page's order."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
BEFORE = "#a0a4a8"
SIZE = (7.0, 4.2)
"""Inches of a chart."""
LEGEND = 26
"""Letters in a line of a legend."""


def write_pictures(report: RunsReport, page: Path) -> list[Path]:
    """A PNG for each picture of the page, named like it and beside it; their paths."""
    written = []

    def path(name: str) -> Path:
        written.append(page.with_name(f"{page.stem}-{name}.png"))
        return written[-1]

    title = ", ".join(group.label for group in report.groups)
    for chart in report.charts:
        _draw(path(chart.name), chart, title)
    if report.tasks:
        _tasks(path("tasks"), report.groups, report.tasks, title)
    for number, mask in enumerate(report.masks, 1):
        draw_mask(path(f"mask-{number}" if len(report.masks) > 1 else "mask"), mask)
    return written


def _draw(path: Path, chart: Chart, title: str) -> None:
    legend = [track for track in chart.tracks if track.label]
    with canvas(path, SIZE, fill(f"{title}: {chart.title.lower()}", 60), fill(chart.note, 100)) as figure:
        axis = figure.subplots()
        for track in chart.tracks:
            _track(axis, track)
        _scale(axis, chart)
        for x, colour, said in chart.marked:
            axis.axvline(x, color=COLOURS[colour], linestyle=":", zorder=0)
            axis.annotate(
                said, (x, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
            )
        if len(legend) > 1:
            axis.legend(
                frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
                handlelength=2.6,
            )  # fmt: skip
        _labels(axis, chart, figure)


def _track(axis: "Axes", track: Track) -> None:
    colour = COLOURS[track.colour]
    x, y = [dot.x for dot in track.dots], [dot.y for dot in track.dots]
    ring = (
        {"markerfacecolor": "white", "markersize": 8, "markeredgewidth": 1.8} if track.mark == "ring" else {}
    )
    style: dict[str, Any] = {"markersize": 5, **ring}
    marker = "" if track.mark == "none" else "o"
    dash = DASHES[track.dash % len(DASHES)]
    axis.plot(
        x,
        y,
        color=colour,
        linestyle=dash,
        marker=marker,
        label=fill(track.label, LEGEND) or "_",
        linewidth=1.6,
        **style,
    )
    for dot in track.dots:
        for reach, along in ((dot.wide, "x"), (dot.high, "y")):
            if reach:
                line = (reach, (dot.y, dot.y)) if along == "x" else ((dot.x, dot.x), reach)
                axis.plot(*line, color=colour, linewidth=1, alpha=0.7, zorder=1)


def _scale(axis: "Axes", chart: Chart) -> None:
    for along, scale in (("x", chart.across), ("y", chart.up)):
        room = 0.03 * (scale.high - scale.low)
        axis.set(**{f"{along}lim": (scale.low - room, scale.high + room)})
        axis.set(
            **{f"{along}ticks": scale.ticks, f"{along}ticklabels": [scale.label(t) for t in scale.ticks]}
        )
    axis.set(xlabel=chart.across_title, ylabel=chart.up_title)
    axis.tick_params(length=0, labelsize=9.5)
    axis.grid(color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)


def _labels(axis: "Axes", chart: Chart, figure: "Figure") -> None:
    dots = [dot for track in chart.tracks for dot in track.dots if track.mark != "none"]
    named = [dot for dot in dots if dot.label]
    from matplotlib.patheffects import withStroke

    if not named:
        return
    figure.draw_without_rendering()  # the layout is known only then
    box = axis.get_window_extent()
    size = box.width / figure.dpi * 72, box.height / figure.dpi * 72
    at = axis.transAxes.inverted()

    def place(dot: Dot) -> tuple[float, float]:
        x, y = at.transform(axis.transData.transform((dot.x, dot.y)))
        return float(x), 1 - float(y)

    texts = [dot.label for dot in named]
    others = [place(dot) for dot in dots if not dot.label]
    found = places([place(dot) for dot in named], texts, [size], others, letter=5.6, line=9.0)
    anchors = {"start": "left", "middle": "center", "end": "right"}
    for dot, where in zip(named, found, strict=True):
        if where:
            halo = withStroke(linewidth=2.5, foreground="white")
            axis.annotate(
                dot.label, (dot.x, dot.y), xytext=(where.x, -where.y), textcoords="offset points",
                fontsize=9, ha=anchors[where.anchor], va="baseline", path_effects=[halo],
            )  # fmt: skip


def _tasks(path: Path, groups: Sequence[Group], tasks: Sequence[Bars], title: str) -> None:
    most = max(len(task.bars) for task in tasks)
    height = 0.8 / most
    note = "Lines: 95 % intervals over seeds." if any(len(group.runs) > 1 for group in groups) else ""
    size = (7.5, 1.6 + len(tasks) * (0.16 + 0.15 * most))
    with canvas(path, size, fill(f"{title}: task by task", 60), note) as figure:
        axis = figure.subplots()
        for row, task in enumerate(tasks):
            for place, (colour, accuracy) in enumerate(task.bars):
                at = row + (place + 0.5) * height - 0.4
                reach = None if colour is None else ends(accuracy)
                _bar(axis, at, accuracy.mean, BEFORE if colour is None else COLOURS[colour], height, reach)
        axis.barh(0, 0, color=BEFORE, label="before")
        for place, group in enumerate(groups):
            axis.barh(
                0, 0, color=COLOURS[place], label=fill(group.label, LEGEND) if len(groups) > 1 else "after"
            )
        axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.1, 1), borderaxespad=0)
        names = [f"{task.task} (target)" if task.role == "target" else task.task for task in tasks]
        axis.set_yticks(range(len(tasks)), names)
        axis.set(xlim=(0, 1), ylim=(len(tasks) - 0.5, -0.5))
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axis.tick_params(length=0, labelsize=9.5)
        axis.grid(axis="x", color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)


def _bar(
    axis: "Axes", at: float, value: float, colour: str, height: float, reach: tuple[float, float] | None
) -> None:
    axis.barh(at, value, height=0.92 * height, color=colour)
    if reach:
        axis.plot(reach, (at, at), color="black", linewidth=1.1)
    behind = max(value, *reach) if reach else value
    axis.annotate(
        f"{100 * value:.1f}", (behind, at), va="center", fontsize=7.5, xytext=(4, 0),
        textcoords="offset points", annotation_clip=False,
    )  # fmt: skip
