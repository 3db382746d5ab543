"""`forgetless verify`: is a store whole?"""

import json
from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(context: click.Context, store: Path, as_json: bool) -> None:
    """Check that a store is whole: readable, as written, ids unique."""
    from forgetless.curator.store import Store
    from forgetless.curator.store.verify import verify as check
    from forgetless.schemas.errors import FAILED

    problems, rows = check(Store.open(store))
    if as_json:
        click.echo(json.dumps({"ok": not problems, "problems": problems, "rows": rows}, indent=2))
    else:
        _print(problems, rows)
    if problems:
        context.exit(FAILED)


def _print(problems: list[str], rows: dict[str, int]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for table, count in rows.items():
        console.print(f"{table:<12} {count:>10,} rows")
    for problem in problems:
        console.print(Text("damaged: ", "bold red") + Text(problem))
    if not problems:
        console.print("ok", style="bold green")
