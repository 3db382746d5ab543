"""/v1/sql: questions to a store in SQL, each answered by a process of its own."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from forgetless.curator.service.problems import PROBLEMS, Problem
from forgetless.curator.service.service import Given
from forgetless.curator.service.sql_pool import SqlAnswer
from forgetless.curator.store.catalog import catalog
from forgetless.schemas.base import Frozen

LOOK_SECONDS = 0.25
"""How often it is looked whether someone still waits for an answer."""

router = APIRouter(prefix="/v1/sql", tags=["sql"], responses=PROBLEMS)


class Question(Frozen):
    """One SELECT (DuckDB's SQL) on a store."""

    store: str = Field(max_length=200)
    sql: str = Field(min_length=1, max_length=100_000)
    """FROM …, VALUES, DESCRIBE, SUMMARIZE and WITH … SELECT are taken too."""
    snapshot: int | None = None
    """As it was at this one; else as it is now."""
    seconds: float = Field(10, ge=0.1, le=60)
    """When the query is ended, waiting for its turn included."""
    rows: int = Field(1000, ge=1, le=10_000)
    """How many are answered at most; fewer where they are large."""


class Column(Frozen):
    """Of an answer, or of a view."""

    name: str
    type: str
    """DuckDB's"""


class Answer(Frozen):
    """The first rows of a query."""

    columns: list[Column]
    rows: list[list[Any]]
    """A value for each column. NaN and infinity are null, bytes hex, times ISO 8601; integers beyond ±(2⁵³ - 1),
    intervals and bit strings are text."""
    truncated: bool
    """Whether there are more rows."""
    seconds: float


class SourceLine(Frozen):
    """A table, view or macro that a query can name."""

    name: str
    call: str
    """As a query names it: a macro's with its arguments and their defaults."""
    kind: str
    """table, view, macro (called behind FROM) or value (a macro that stands where a value can)."""
    about: str
    example: str
    """A query that uses it."""
    columns: list[Column]


class Schema(Frozen):
    """What can be asked of a store."""

    sources: list[SourceLine]


# A deadline that passed is no 504, since nothing is wrong with the service, and no 408: browsers send the
# request again after that one.
@router.post("")
async def ask(question: Question, service: Given, request: Request) -> Answer:
    """Rows of a query. 400 if it is wrong, or was ended at its deadline (`late` is true then). Who closes the
    connection ends the query."""
    store = await run_in_threadpool(service.stores.get, question.store)
    asked = service.sql.run(store.path, question.sql, question.snapshot, question.seconds, question.rows)
    answer = await _while_awaited(request, asked)
    if answer.error:
        raise Problem(400, answer.error, answer.hint, late=answer.late)
    columns = [Column(**column) for column in answer.columns]
    return Answer(columns=columns, rows=answer.rows, truncated=answer.truncated, seconds=answer.seconds)


async def _while_awaited(request: Request, asked: Coroutine[Any, Any, SqlAnswer]) -> SqlAnswer:
    """The answer, unless nobody is there any more to read it: then its process is ended, for others' turn."""
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(asked)
        while not (await asyncio.wait({answer}, timeout=LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                answer.cancel()
                break  # once: it ends its process before it ends
    if answer.cancelled():
        raise Problem(400, "the query was given up", "ask again")
    return answer.result()


@router.get("/schema")
def read_schema(store: str, service: Given) -> Schema:
    """Tables, views and macros of a store, each with its columns and a query that uses it."""
    with service.stores.reading(store) as connection:
        found = catalog(connection)
    return Schema(
        sources=[
            SourceLine(
                name=source.name, call=source.call, kind=source.kind, about=source.about, example=source.example,
                columns=[Column(name=name, type=type_) for name, type_ in source.columns],
            )
            for source in found
        ]
    )  # fmt: skip
