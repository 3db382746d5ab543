"""`forgetless compare`: all versions of a task's answers, in a table and as a picture."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forgetless.curator.report.comparison import Comparison, Figures, Line

MUCH = 0.1
"""Beyond this relative difference the perplexity over all rows stands beside that over equal prompts."""


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--task", metavar="TASK", help="Whose answers to compare; the only task there is if not given.")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Picture: .png, .svg or .pdf.  [compare-TASK.png]",
)
@click.option("--scorer", metavar="SCORER", help="Whose scores to use, if there are several.")
@click.option("--snapshot", type=int, metavar="N", help="As it was at snapshot N; else as it is now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the picture is drawn with --to only.")
def compare(
    store: Path, task: str | None, to: Path | None, scorer: str | None, snapshot: int | None, as_json: bool
) -> None:
    """Compare ground truth, teacher, paraphrase, minimum change and self-output of a task.

    How many were accepted, how hard they are for the base model, how far they are from the ground truth: as a
    table, as sentences, and as a picture.
    """
    from forgetless.curator.report.bars import picture_path
    from forgetless.curator.report.comparison import compare as compared
    from forgetless.curator.store import Store

    if to:
        picture_path(to)
    comparison = compared(Store.open(store), task, scorer, snapshot)
    if as_json:
        _print_json(comparison, to)
    else:
        print_comparison(comparison, store)
        print_picture(comparison, to or Path("compare-" + re.sub(r"[^\w.-]+", "-", comparison.task) + ".png"))


def _print_json(comparison: "Comparison", to: Path | None) -> None:
    from forgetless.curator.plain import plain
    from forgetless.curator.report.order import order
    from forgetless.curator.report.picture import draw_comparison

    drawn = draw_comparison(comparison, to) if to else None
    said = {"order": order(comparison), "picture": str(drawn) if drawn else None}
    click.echo(json.dumps(plain(comparison.model_dump() | said), ensure_ascii=False, indent=2))


def print_picture(comparison: "Comparison", path: Path) -> None:
    """Draw it and say where it is."""
    from forgetless.curator.report.picture import draw_comparison

    drawn = draw_comparison(comparison, path)
    click.echo(f"picture: {drawn}" if drawn else "no picture: nothing is scored")


def print_comparison(comparison: "Comparison", store: Path) -> None:
    """The table and what it says, on stdout."""
    from rich.console import Console

    from forgetless.curator.report.order import order

    console = Console(highlight=False, soft_wrap=False)
    console.print(f"{comparison.task}: versions of its answers", style="bold", markup=False)
    _print_tables(comparison, console)
    for style, lines in (("", order(comparison)), ("dim", _notes(comparison, store))):
        console.print()
        for line in lines:
            console.print(line, style=style, markup=False, soft_wrap=not console.is_terminal)
    console.print()


def _print_tables(comparison: "Comparison", console: "Console") -> None:
    """One table, or two below one another where the console is too narrow for it."""
    columns = _columns(comparison)
    whole = _table(comparison, columns)
    needed = console.measure(whole, options=console.options.update(max_width=1000)).maximum
    if not console.is_terminal:
        console.width = max(console.width, needed)
    halves = (
        [whole]
        if needed <= console.width
        else [_table(comparison, half) for half in (columns[:6], columns[6:])]
    )
    for table in halves:
        console.print(table)


def _columns(comparison: "Comparison") -> list[tuple[str, list[str]]]:
    """Heading and cells of every column behind the label."""
    from forgetless.curator.report.order import interval_text

    lines = comparison.lines
    shown = [line.equal if comparison.prompts else line.all for line in lines]

    def cells(form: str, name: str) -> list[str]:
        values = [getattr(figures, name) if figures else None for figures in shown]
        return ["-" if value is None else format(value, form) for value in values]

    def perplexities(figures: "Sequence[Figures | None]") -> list[str]:
        return [interval_text(f.perplexity) if f and f.perplexity else "-" for f in figures]

    columns = [
        ("rows", [f"{line.own:,}" for line in lines]),
        ("fallbacks", [f"{line.fallbacks:,}" for line in lines]),
        ("accepted", [f"{line.accepted_share:.1%}" for line in lines]),
        ("tokens", cells(",.1f", "tokens")),
        ("characters", cells(",.0f", "characters")),
        ("edits", [f"{n} ({share})" if n != "-" else "-" for n, share in zip(cells(",.1f", "edit_distance"), cells(".0%", "edit_share"), strict=True)]),
        ("perplexity (95 %)", perplexities(shown)),
        ("hard", cells(".1%", "hard_share")),
    ]  # fmt: skip
    if any(_differs(line) for line in lines):
        columns.append(("over all rows", perplexities([line.all for line in lines])))
    return columns


def _differs(line: "Line") -> bool:
    if not (line.equal and line.equal.perplexity and line.all and line.all.perplexity):
        return False
    return abs(line.equal.perplexity.mean / line.all.perplexity.mean - 1) > MUCH


def _table(comparison: "Comparison", columns: "Sequence[tuple[str, list[str]]]") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("", overflow="fold")
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for line, *cells in zip(comparison.lines, *(cells for _, cells in columns), strict=True):
        table.add_row(Text(line.label), *cells)
    return table


def _notes(comparison: "Comparison", store: Path) -> list[str]:
    """What the columns mean, and what is missing."""
    import shlex

    lines = comparison.lines
    notes = [
        "rows: own and accepted; fallbacks: rows in which something else stands in; accepted: the share of prompts "
        "that got an own answer.",
    ]
    if comparison.scorer:
        basis = (
            f"the {comparison.prompts:,} prompts that have an own, scored answer in every line"
            if comparison.prompts
            else "all own rows of each line: no prompt has an own, scored answer in all of them"
        )
        notes.append(
            f"All else is over {basis}. Perplexity: exp of the mean over prompts of the mean -log p per target "
            "token, its interval by bootstrap over prompts; hard: share of target tokens with perplexity above "
            f"2.5; edits: Levenshtein distance to the ground truth in tokens. Scored by {comparison.scorer[:8]}."
        )
    if comparison.other_scorers:
        notes.append(
            f"Scored by others too (--scorer): {', '.join(s[:8] for s in comparison.other_scorers)}."
        )
    if without := [line.label for line in lines if comparison.prompts and not line.equal]:
        notes.append(
            f"Left out of the equal prompts, since it has no own scored answer: {', '.join(without)}."
        )
    if unscored := sum(line.unscored for line in lines):
        command = f"forgetless score {shlex.quote(str(store))}"
        notes.append(f"{unscored:,} own rows are not scored: `{command}` scores them.")
    return notes
