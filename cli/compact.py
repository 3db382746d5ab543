"""`forgetless compact`: few large files in the place of many small ones."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.curator.store.compact import Compacted, Vacuumed


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--vacuum",
    "drop",
    is_flag=True,
    help="Also drop the files that neither a snapshot nor the present state needs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compact(store: Path, drop: bool, as_json: bool) -> None:
    """Join a store's small files to large ones, which are faster to query.

    No row changes. Snapshots keep the files that they name; without --vacuum every file is kept. Killed at any
    moment, the store is whole; the same command goes on.
    """
    from forgetless.curator.store import Store
    from forgetless.curator.store.compact import compact as join
    from forgetless.curator.store.compact import vacuum

    opened = Store.open(store)
    with opened.lock():
        joined = join(opened)
        dropped = vacuum(opened) if drop else None
    if as_json:
        tables = [dataclasses.asdict(table) for table in joined]
        click.echo(
            json.dumps({"tables": tables, "vacuum": dropped and dataclasses.asdict(dropped)}, indent=2)
        )
    else:
        _print(joined, dropped)


def _print(joined: list["Compacted"], dropped: "Vacuumed | None") -> None:
    for table in joined:
        click.echo(
            f"{table.table:<12} {table.parts_before:>6,} files of {_size(table.bytes_before)} → "
            f"{table.parts:,} of {_size(table.bytes)}"
        )
    if not joined:
        click.echo("nothing to join: no table has two small files side by side")
    if dropped:
        click.echo(f"dropped      {dropped.files:>6,} files of {_size(dropped.bytes)} that nothing needs")


def _size(count: int) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
