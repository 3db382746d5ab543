"""A process that answers one query and ends: a request as a line of JSON on stdin, its answer on stdout.

It can write no file and take no more memory or time than it is given; what it is asked runs on a confined connection.
"""

import json
import math
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from forgetless.curator.lifetime import die_with_parent
from forgetless.curator.plain import plain
from forgetless.curator.store import Store
from forgetless.curator.store.confined import connect_confined, one_select, sql_error
from forgetless.schemas.errors import ForgetlessError, UsageError

THREADS = 2
BATCH = 1000
"""Rows that are read at once."""
LONGEST = 2000
"""Characters of an error, whose words a query may choose."""

# What Arrow has no like of, and what Python would show as something else: text, as DuckDB writes it.
_AS_TEXT = re.compile(r"\b(UHUGEINT|BIGNUM|BIT|INTERVAL|TIME WITH TIME ZONE|GEOMETRY)\b")


def main() -> None:
    """Wait for the request, answer it."""
    die_with_parent(int(sys.argv[1]))
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else is said there
    warm_up()
    if line := sys.stdin.readline():
        request = json.loads(line)
        confine(request["memory_bytes"], request["seconds"])
        with os.fdopen(answers, "w") as out:
            json.dump(answer(request), out, allow_nan=False)
    os._exit(0)  # a query whose rows were not all wanted goes on behind


def warm_up() -> None:
    """Load what a first query would: half of its time."""
    with duckdb.connect() as connection:
        connection.register("rows", ds.dataset(pa.table({"a": [1]})))
        connection.sql("SELECT json_serialize_sql(a::VARCHAR) FROM rows").to_arrow_table()


def confine(memory_bytes: int, seconds: float) -> None:
    """Limits of the kernel on what this process may take from here on."""
    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: math.ceil(_cpu_seconds() + THREADS * seconds) + 1,
    }
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory_bytes
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Columns with their DuckDB types, rows, whether there are more; or what is wrong."""
    try:
        store = Store.open(Path(request["store"]))
        settings: dict[str, str | int] = {
            "memory_limit": f"{request['memory_bytes'] // 2}B",
            "threads": THREADS,
        }
        connection = connect_confined(store, request["snapshot"], request["sql"], settings)
        return _asked(connection, request["sql"], request["rows"], request["bytes"])
    except ForgetlessError as error:
        return {"error": error.message[:LONGEST], "hint": error.hint}
    except (MemoryError, pa.ArrowMemoryError):
        return {"error": "SQL: out of memory", "hint": "ask for less at once"}
    except (duckdb.Error, pa.ArrowException, OSError) as error:  # pyarrow's while rows are read
        return {"error": sql_error(error).message[:LONGEST], "hint": sql_error(error).hint}
    except RecursionError:
        return {"error": "SQL: nested too deeply", "hint": "simplify the query"}


def _asked(connection: duckdb.DuckDBPyConnection, sql: str, most: int, most_bytes: int) -> dict[str, Any]:
    one_select(connection, sql)
    relation = connection.sql(sql)
    columns = [{"name": n, "type": str(t)} for n, t in zip(relation.columns, relation.types, strict=True)]
    rows: list[list[Any]] = []
    size, truncated = len(json.dumps(columns)), False
    if size > most_bytes:
        raise UsageError("SQL: the columns' names and types are too long", "ask for fewer columns")
    for row in _rows(relation):
        size += len(json.dumps(row))
        if truncated := len(rows) == most or size > most_bytes:
            break
        rows.append(row)
    return {"columns": columns, "rows": rows, "truncated": truncated}


def _rows(relation: duckdb.DuckDBPyRelation) -> Iterator[list[Any]]:
    """Each as JSON can hold it, read as they are made."""
    names, texts = relation.columns, [bool(_AS_TEXT.search(str(type_))) for type_ in relation.types]
    if any(texts):
        relation = relation.project(
            ", ".join(f"#{i}::VARCHAR" if text else f"#{i}" for i, text in enumerate(texts, 1))
        )
    for batch in relation.to_arrow_reader(BATCH):
        columns = [_values(column, name) for column, name in zip(batch.columns, names, strict=True)]
        yield from ([plain(value, wide=False) for value in row] for row in zip(*columns, strict=True))


def _values(column: pa.Array, name: str) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, NotImplementedError):  # a year that Python does not know, for one
        raise UsageError(
            f"SQL: values of column {name!r} cannot be shown", f'cast it: "{name}"::VARCHAR'
        ) from None


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
