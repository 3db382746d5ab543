"""A connection for SQL that others wrote: it reads the store's committed files, and touches nothing else."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import duckdb

from forgetless.curator.store.macros import MACROS
from forgetless.curator.store.views import init_statements
from forgetless.schemas.errors import UsageError
from forgetless.schemas.tables import TABLES

if TYPE_CHECKING:
    from forgetless.curator.store.store import Store

# Each holds by itself against what `one_select` refuses too: DuckDB 2.0.0 types `WITH s AS (COPY …) SELECT` as SELECT.
# Folders are named so that no message or setting tells whose home this is. Of a pyarrow dataset DuckDB does not know
# how many rows it has, and would turn a join around to hash all tokens of a store: written order stands instead.
_SETTINGS: dict[str, str | int | bool] = {
    "enable_progress_bar": False,
    "disabled_optimizers": "build_side_probe_side",
    "temp_directory": "",  # after the next it could not be set any more
    "secret_directory": "none",
    "extension_directory": "none",
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "python_scan_all_frames": False,
}

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_SOURCES = {
    "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "pragma_show",
    "pragma_table_info", "pragma_version", "range", "repeat", "repeat_row", "summary", "test_all_types", "unnest",
}  # fmt: skip
"""Table functions that make rows of their arguments, or tell what there is; those that run other SQL are not here."""
_PLANNERS = {"json_deserialize_sql", "json_serialize_plan"}
"""They bind whatever statement a text holds."""


def connect_confined(
    store: "Store",
    snapshot: int | None,
    query: str | None,
    settings: Mapping[str, str | int] | None = None,
) -> duckdb.DuckDBPyConnection:
    """As `Store.connect`, with the same views and macros, but no way to a file, a network, an extension or a setting.

    The committed files are there as pyarrow datasets, opened by pyarrow: DuckDB itself opens none, and has no room on
    disk for what does not fit into memory. On 5M tokens queries take 1 to 2 times what they take through DuckDB's own
    reader, those of a few milliseconds up to 3 times. That reader, as of 2.0.0, is wrong about `struct.field IS NULL`.

    Args:
        settings: DuckDB's, such as `memory_limit`, set before they are locked.
    """
    import pyarrow.dataset as ds  # a fifth of a second
    from pyarrow.fs import LocalFileSystem

    connection = duckdb.connect()
    for name, value in (_SETTINGS | dict(settings or {})).items():
        connection.execute(f"SET {name} = {_literal(value)}")
    files = store.files(snapshot)
    for name, parts in files.items():
        parquet = ds.dataset(parts, TABLES[name], format="parquet", filesystem=LocalFileSystem())
        connection.register(name, parquet)
    for statement in init_statements(files, query, tables=False):
        connection.execute(statement)
    connection.execute("SET lock_configuration = true")
    return connection


def one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not one query that only reads.

    FROM …, VALUES, DESCRIBE, SUMMARIZE, SHOW and WITH … SELECT are queries too.

    Raises:
        UsageError: several statements, another kind of statement at the top or in a WITH, a function that reads files
            or runs other SQL. DuckDB's own words where it cannot be parsed.
    """
    try:
        sql.encode()  # half a surrogate pair is no text
        kinds = [statement.type.name for statement in connection.extract_statements(sql)]
    except duckdb.Error as error:
        raise sql_error(error) from None
    except ValueError:  # DuckDB's client for Python lacks names for some kinds
        kinds = ["something without a name"]
    if kinds != ["SELECT"]:
        found = ", ".join(kinds) or "nothing"
        raise UsageError(f"SQL: one SELECT is taken here, not {found}", "send a single SELECT statement")
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    try:
        parsed = json.loads(text)
    except RecursionError:
        raise UsageError("SQL: nested too deeply", "simplify the query") from None
    if parsed.get("error", True):
        raise UsageError("SQL: one SELECT is taken here, and this cannot be read as one", "rewrite it")
    for node in _nodes(parsed):
        _check(node)


def sql_error(error: Exception) -> UsageError:
    """In DuckDB's own words, with the line, where it says one, instead of the excerpt of the query."""
    message, _, excerpt = str(error).partition("\n\n")
    line = re.match(r"LINE (\d+): ", excerpt)
    where = f" (line {line[1]})" if line and line[1] != "1" else ""
    message = " ".join(message.split())
    return UsageError(f"SQL: {message}{where}", "`forgetless sql STORE` lists the views and their columns")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    left = [tree]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left += each.values()
        elif isinstance(each, list):
            left += each


def _check(node: Mapping[str, Any]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in _QUERIES:
        raise UsageError(
            f"SQL: {kind.split('_')[0]} is not taken here, in a WITH neither", "send a SELECT statement"
        )
    if kind == "TABLE_FUNCTION":
        name = str(node["function"]["function_name"]).lower()
        if name not in _SOURCES | {macro.name for macro in MACROS} and not name.startswith("duckdb_"):
            raise UsageError(
                f"SQL: {name}() is not taken here", "the store's views and macros are all there is"
            )
    if kind == "FUNCTION" and str(node["function_name"]).lower() in _PLANNERS:
        raise UsageError(f"SQL: {node['function_name']}() is not taken here", "leave it out")


def _literal(value: str | int | bool) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()
