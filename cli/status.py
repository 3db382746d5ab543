"""`forgetless status`: what is in a store."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

SHORT = 8
"""Characters of a digest that are enough to tell it from another."""
SHOWN_SNAPSHOTS = 3
LEFT_OUT = {"steps": ("pipeline", "intermediate")}
"""Columns that 80 characters have no room for; `--json` has them."""


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(store: Path, as_json: bool) -> None:
    """Show what is in a store: rows, steps, tokens, scores, runs."""
    from forgetless.curator.store import Store
    from forgetless.curator.store.summary import summarise

    summary = summarise(Store.open(store))
    if as_json:
        from forgetless.curator.plain import plain

        click.echo(json.dumps(plain(summary), ensure_ascii=False, indent=2))
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    size, tokens, target = _bytes(summary["bytes"]), summary["tokens"], summary["target_tokens"]
    console.print(Text(summary["path"], "bold"), Text(f"format {summary['format']}, {size} on disk"))
    console.print(f"records hold {tokens:,} tokens, {target:,} of them targets")
    for name in ("kinds", "steps", "scorers", "runs", "snapshots", "evals"):
        _print_part(console, name, [_readable(row, LEFT_OUT.get(name, ())) for row in summary[name]])


def _print_part(console: "Console", name: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from forgetless.curator.report.visible import one_line

    console.print()
    if not rows:
        console.print(f"no {name} yet", style="dim")
        return
    title = f"snapshots, {len(rows)} in all" if name == "snapshots" else name
    console.print(title, style="bold cyan")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for key, value in rows[0].items():
        justify: Literal["right", "left"] = "right" if isinstance(value, int) else "left"
        table.add_column(key.replace("_", " "), justify=justify, no_wrap=True)
    for row in rows[-SHOWN_SNAPSHOTS:] if name == "snapshots" else rows:
        table.add_row(
            *(Text(f"{v:,}" if isinstance(v, int) else one_line(str(v or ""))) for v in row.values())
        )
    console.print(table)


def _readable(row: dict[str, Any], left_out: Sequence[str]) -> dict[str, Any]:
    """Digests short, times to the second, and no run "started" for ever."""
    readable = {key: value for key, value in row.items() if key not in left_out}
    for key in ("digest", "model", "scorer", "run_id"):
        if isinstance(readable.get(key), str):
            readable[key] = readable[key][:SHORT]
    for key in ("started", "last", "created"):
        if readable.get(key):
            readable[key] = f"{readable[key]:%Y-%m-%d %H:%M:%S}"
    if readable.get("state") == "started":
        readable["state"] = "running or killed"
    return readable


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
