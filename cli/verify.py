"""`forgetless verify`: is a store whole?"""

import json
from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(context: click.Context, store: Path, as_json: bool) -> None:
    """Check that a store is whole: every row readable, ids unique, parts as written."""
    from forgetless.curator.store import Store
    from forgetless.curator.store.verify import verify as check
    from forgetless.schemas.errors import FAILED

    problems, rows = check(Store.open(store))
    if as_json:
        click.echo(json.dumps({"ok": not problems, "problems": problems, "rows": rows}, indent=2))
    else:
        for table, count in rows.items():
            click.echo(f"{table:<12} {count:>10,} rows")
        for problem in problems:
            click.echo(click.style("damaged: ", fg="red", bold=True) + problem)
        if not problems:
            click.echo(click.style("ok", fg="green", bold=True))
    if problems:
        context.exit(FAILED)
