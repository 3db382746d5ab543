"""A picture per finding: bars of methods, curves over steps, matrices of stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forgetless.curator.report.bars import DPI, OKABE_ITO, Bar, Panel, draw
from forgetless.curator.report.resampling import Interval
from forgetless.train.study.runner import split
from forgetless.train.study.summary import Row, Shown, Summary


def draw_finding(shown: Shown, summary: Summary, folder: Path) -> str | None:
    """The file's name; None where there is nothing to draw."""
    if not shown.rows:
        return None
    name = f"finding-{shown.finding.number}.png"
    title = f"{shown.finding.number}. {shown.finding.title}"
    note = f"Means over seeds {', '.join(map(str, summary.seeds))}, with 95 % intervals."
    match shown.finding.show:
        case "steps":
            _curves(folder / name, title, shown.rows[0], shown.finding.tasks)
        case "stages":
            _matrices(folder / name, title, shown.rows)
        case "tasks":
            first = shown.rows[0].tasks
            panels = [
                Panel("base, %", [Bar(100 * line.before, f"{100 * line.before:.0f}") for line in first]),
                *(Panel(f"{row.row}, %", [_bar(line.after) for line in row.tasks]) for row in shown.rows),
            ]
            draw(folder / name, title, [line.task for line in first], _colours(len(first)), panels, note)
        case _:
            panels = [
                Panel("target, %", [_bar(row.target) for row in shown.rows]),
                Panel("kept, %", [_bar(row.kept) for row in shown.rows]),
            ]
            labels = [row.row for row in shown.rows]
            draw(folder / name, title, labels, _colours(len(labels)), panels, note)
    return name


def _bar(interval: Interval) -> Bar:
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Bar(100 * interval.mean, f"{100 * interval.mean:.0f}", 100 * low, 100 * high)


def _colours(count: int) -> list[str]:
    return [OKABE_ITO[n % len(OKABE_ITO)] for n in range(count)]


def _curves(path: Path, title: str, row: Row, tasks: Sequence[str]) -> None:
    """Target, kept and some tasks over the steps."""
    figure = _figure(7, 4, title)
    axis = figure.subplots()
    places = {name: [line.task for line in row.tasks].index(name) for name in tasks}
    lines = {"target": [p.target for p in row.curve], "kept": [p.kept for p in row.curve]}
    lines |= {name: [p.tasks[place] for p in row.curve] for name, place in places.items()}
    for (name, values), colour in zip(lines.items(), OKABE_ITO, strict=False):
        axis.plot(
            [int(p.at) for p in row.curve],
            [100 * value for value in values],
            color=colour,
            marker="o",
            label=name,
        )
    axis.set(xlabel="steps", ylabel="%", ylim=(-3, 103))
    axis.legend(frameon=False)
    figure.savefig(path, dpi=DPI)


def _matrices(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Accuracy of every task after each stage, one matrix per row."""
    figure = _figure(
        3 + 0.5 * len(rows[0].tasks), 1.2 + sum(0.4 * len(row.curve) + 0.9 for row in rows), title
    )
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    for axis, row in zip(axes, rows, strict=True):
        values = [[100 * value for value in point.tasks] for point in row.curve]
        axis.imshow(values, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                colour = "black" if value > 50 else "white"
                axis.text(x, y, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
        axis.set_title(split(row.row)[1], loc="left", fontsize=10)
        axis.set_yticks(range(len(values)), [f"after {point.at}" for point in row.curve], fontsize=9)
        names = [line.task for line in row.tasks]
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    figure.savefig(path, dpi=DPI)


def _figure(width: float, height: float, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11, wrap=True)
    return figure
