"""What can be asked of a store: its tables, views and macros, described."""

from dataclasses import dataclass

import duckdb

from forgetless.curator.store.macros import MACROS
from forgetless.curator.store.views import ABOUT, EXAMPLES
from forgetless.schemas.tables import TABLES


@dataclass(frozen=True)
class Source:
    """One table, view or macro."""

    name: str
    call: str
    """As a query names it: a macro's with its arguments and their defaults."""
    kind: str
    """table, view, macro (behind FROM) or value (a macro that stands where a value can)."""
    about: str
    example: str
    columns: tuple[tuple[str, str], ...]
    """Name and DuckDB type of each; none of a value."""


def catalog(connection: duckdb.DuckDBPyConnection) -> list[Source]:
    """All of them, of a connection that `Store.connect` gave, in the order people look for them."""
    found = []
    for name, about in ABOUT.items():
        kind, example = "table" if name in TABLES else "view", EXAMPLES.get(name, f"FROM {name} LIMIT 9")
        found.append(Source(name, name, kind, about, example, _columns(connection, name)))
    for macro in MACROS:
        columns = _columns(connection, f"{macro.name}()") if macro.is_table else ()
        kind = "macro" if macro.is_table else "value"
        found.append(Source(macro.name, macro.call, kind, macro.about, macro.example, columns))
    return found


def _columns(connection: duckdb.DuckDBPyConnection, source: str) -> tuple[tuple[str, str], ...]:
    relation = connection.sql(f"FROM {source} LIMIT 0")
    return tuple(zip(relation.columns, map(str, relation.types), strict=True))
