"""A study's findings as tables, on a terminal and in Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

from forgetless.curator.report.resampling import Interval
from forgetless.train.study.runner import split
from forgetless.train.study.summary import Shown, Summary


@dataclass(frozen=True)
class Grid:
    """Cells with a heading; the first column is text, the others figures."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]


def grid(shown: Shown) -> Grid | None:
    """What a finding shows; None where it shows no table."""
    if not shown.rows:
        return None
    return {"methods": _methods, "tasks": _tasks, "steps": _steps, "stages": _stages}[shown.finding.show](
        shown
    )


def _methods(shown: Shown) -> Grid:
    heading = ["", "rate", "steps", "target, %", "kept, %"]
    return Grid(
        heading,
        [
            [row.row, f"{row.setting.learning_rate:g}", row.at, percent(row.target), percent(row.kept)]
            for row in shown.rows
        ],
    )


def _tasks(shown: Shown) -> Grid:
    lines = [
        [line.task, f"{100 * line.before:.0f}", *(percent(row.tasks[n].after) for row in shown.rows)]
        for n, line in enumerate(shown.rows[0].tasks)
    ]
    return Grid(["accuracy, %", "base", *(row.row for row in shown.rows)], lines)


def _steps(shown: Shown) -> Grid:
    """Of one row, over its steps."""
    row, names = shown.rows[0], shown.finding.tasks
    places = [[line.task for line in row.tasks].index(name) for name in names]
    lines = [
        [point.at, *(f"{100 * v:.0f}" for v in (point.target, point.kept, *(point.tasks[p] for p in places)))]
        for point in row.curve
    ]
    return Grid(["steps", "target, %", "kept, %", *(f"{name}, %" for name in names)], lines)


def _stages(shown: Shown) -> Grid:
    tasks = [line.task for line in shown.rows[0].tasks]
    base = ["base", *(f"{100 * line.before:.0f}" for line in shown.rows[0].tasks)]
    rows = [
        [f"{split(row.row)[1]}: {point.at}", *(f"{100 * value:.0f}" for value in point.tasks)]
        for row in shown.rows
        for point in row.curve
    ]
    return Grid(["after", *tasks], [base, *rows])


def closing(summary: Summary) -> Grid:
    """A line per finding."""
    rows = [[str(shown.finding.number), shown.finding.title, came_out(shown)] for shown in summary.shown]
    return Grid(["", "finding", "what came out"], rows)


def came_out(shown: Shown) -> str:
    """In a sentence or two."""
    figures = ""
    if shown.finding.show == "methods":
        one = len({split(r.row)[0] for r in shown.rows}) == 1
        each = [
            f"{split(r.row)[1] if one else r.row} {100 * r.target.mean:.0f}/{100 * r.kept.mean:.0f}"
            for r in shown.rows
        ]
        figures = f"target/kept, %: {', '.join(each)}"
    judged = [f"{judged.said}: {judged.verdict}" for judged in shown.judged]
    return "; ".join(part for part in (figures, *judged, *shown.text) if part) or shown.finding.note


def percent(interval: Interval) -> str:
    """A mean with its interval, in %."""
    mean = f"{100 * interval.mean:.1f}"
    if isnan(interval.low):
        return mean
    return f"{mean} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"  # noqa: RUF001 - a range


def basis(summary: Summary) -> str:
    """What the figures stand on."""
    sizes = ", ".join(f"{name} {count / 1e6:.2f}M" for name, count in summary.models.items())
    return (
        f"Base models, parameters: {sizes}. Means over seeds {', '.join(map(str, summary.seeds))} with 95 % intervals"
        " (Student's t); rate and steps were chosen on other seeds: of what comes within a point of plain tuning's"
        " best target accuracy, what keeps most. kept: mean over retained tasks of accuracy after / before. yes: the"
        " whole interval bears it out; on average: the mean alone."
        f" {summary.runs} runs, {summary.seconds / 60:.0f} minutes one after the other."
    )


def print_study(summary: Summary) -> None:
    """On stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)

    def show(table: Grid, width: int | None = None) -> None:
        out = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for place, heading in enumerate(table.heading):
            out.add_column(heading, justify="left" if place == 0 or width else "right", overflow="fold")
        for row in table.rows:
            out.add_row(*row)
        console.print(out)

    for shown in summary.shown:
        console.print(f"\n{shown.finding.number}. {shown.finding.title}\n", style="bold", markup=False)
        if table := grid(shown):
            show(table)
        for line in _lines(shown):
            console.print(line, markup=False)
    console.print("\nWhat came out\n", style="bold")
    show(closing(summary), width=1)
    console.print()
    console.print(basis(summary), markup=False, style="dim")


def _lines(shown: Shown) -> Iterator[str]:
    yield from shown.text
    yield from (f"{judged.said}: {judged.verdict}" for judged in shown.judged)
    if shown.finding.note:
        yield shown.finding.note


def markdown(summary: Summary) -> str:
    """The same, with the pictures."""
    parts = ["# What came out", _markdown(closing(summary)), basis(summary)]
    for shown in summary.shown:
        parts.append(f"## {shown.finding.number}. {shown.finding.title}")
        if table := grid(shown):
            parts.append(_markdown(table))
        parts += ["\n".join(f"- {line}" for line in _lines(shown))]
        if shown.picture:
            parts.append(f"![{shown.finding.title}]({shown.picture})")
    for name, sweep in summary.sweeps.items():
        table = Grid(
            ["rate, steps", "target, %", "kept, %"],
            [[p.at, f"{100 * p.target:.1f}", f"{100 * p.kept:.1f}"] for p in sweep],
        )
        parts += [f"## The sweep of {name}/plain on the choosing seeds", _markdown(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(table: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    side = "---|" if table.heading[-1] == "what came out" else "---:|"
    rule = "|---|" + side * (len(table.heading) - 1)
    return "\n".join([line(table.heading), rule, *map(line, table.rows)])
