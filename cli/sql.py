"""`forgetless sql`: questions to a store."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from forgetless.curator.store import Store


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("query", metavar="[SQL]", required=False)
@click.option("--snapshot", type=int, metavar="N", help="As it was at snapshot N; else as it is now.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@click.option(
    "--init", is_flag=True, help="Print the statements that open the same views in any DuckDB client."
)
@click.option(
    "--explain-views", "explain", is_flag=True, help="Say what each view and macro is, with an example."
)
def sql(store: Path, query: str | None, snapshot: int | None, form: str, init: bool, explain: bool) -> None:
    """Ask a store in SQL (DuckDB's); `-` reads the query from stdin.

    Without a query: the tables, views and macros there are, with their columns.
    """
    from forgetless.curator.store import Store

    opened = Store.open(store)
    if init:
        from forgetless.curator.store.views import init_statements

        click.echo("\n".join(f"{statement};" for statement in init_statements(opened.files(snapshot))))
    elif explain:
        _explain_views()
    elif query is None:
        _print_views(opened, snapshot)
    else:
        rows = opened.query(sys.stdin.read() if query == "-" else query, snapshot)
        {"table": _print_table, "json": _print_json, "csv": _print_csv}[form](rows)


def _print_table(rows: "pa.Table") -> None:
    from forgetless.cli.table import print_rows

    print_rows(rows)


def _print_json(rows: "pa.Table") -> None:
    """A JSON array with an object on each line."""
    from forgetless.curator.plain import plain

    lines = (json.dumps(plain(row), ensure_ascii=False) for row in rows.to_pylist())
    click.echo("[" + ",\n ".join(lines) + "]")


def _print_csv(rows: "pa.Table") -> None:
    """CSV with a header; lists and structs as JSON, NULL as nothing."""
    from forgetless.curator.plain import plain

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        values = [plain(value) for value in row.values()]
        writer.writerow(
            [json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for v in values]
        )


def _print_views(store: "Store", snapshot: int | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from forgetless.curator.store.catalog import catalog

    table = _plain_table()
    with store.connect(snapshot) as connection:
        for source in catalog(connection):
            shown = ", ".join(name for name, _ in source.columns) or "a value"
            called = f"{source.call}: " if source.call != source.name else ""
            table.add_row(source.name, Text(source.about) + Text(f"\n{called}{shown}", "dim"))
    Console().print(table)


def _explain_views() -> None:
    """A line on each view and macro, and a query that uses it."""
    from rich.console import Console
    from rich.text import Text

    from forgetless.curator.store.macros import MACROS
    from forgetless.curator.store.views import ABOUT, EXAMPLES

    table = _plain_table()
    for name, example in EXAMPLES.items():
        table.add_row(name, Text(ABOUT[name]) + Text(f"\n{example}", "dim"))
    for macro in MACROS:
        table.add_row(macro.name, Text(f"{macro.about}\n{macro.call}") + Text(f"\n{macro.example}", "dim"))
    Console().print(table)


def _plain_table() -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    return table
