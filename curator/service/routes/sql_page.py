"""The SQL console, and charts of what it finds."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from forgetless.curator.report import svg
from forgetless.curator.report.drawing import drawn
from forgetless.curator.service.rendering import fragment, page
from forgetless.curator.service.result_chart import Named, chart_of
from forgetless.curator.service.routes.sql import Column
from forgetless.curator.service.service import Given
from forgetless.curator.store.store import MANIFEST
from forgetless.schemas.base import Frozen

router = APIRouter(include_in_schema=False)

EXAMPLES = {
    "Perplexity by kind": "SELECT kind, count(*) AS records, avg(perplexity) AS mean_perplexity\nFROM perplexity GROUP BY kind ORDER BY mean_perplexity",
    "Share of hard tokens": "SELECT kind, sum(hard_tokens) / sum(target_tokens) AS hard_share\nFROM perplexity GROUP BY kind ORDER BY hard_share",
    "What refused rows": "SELECT step, filter, reason, count(*) AS rows\nFROM rejects GROUP BY ALL ORDER BY rows DESC",
    "What passed, by stage": "SELECT step, stage, ended, rows, share FROM survival",
    "The hardest tokens": "SELECT kind, position, piece, perplexity, id FROM hardest_tokens(20)",
    "Surprise along an answer": "SELECT position, avg(-logprob) AS nats, count(*) AS tokens\nFROM tokens WHERE is_target GROUP BY position HAVING tokens > 5 ORDER BY position",
    "What was measured": "SELECT name, phase, task, role, metric, value\nFROM evals ORDER BY created DESC",
}
"""Title → query."""


class Result(Frozen):
    """The first rows of an answer."""

    columns: list[Column] = Field(max_length=200)
    rows: list[list[Any]] = Field(max_length=1000)


@router.get("/sql")
def console(service: Given, store: str = "", q: str = "") -> Response:
    """The console; with `q` and `run=1` in the address it asks at once: a query changes nothing and is bounded."""
    names = list(service.stores.paths())
    if not store and names:
        return RedirectResponse(f"/sql?store={names[0]}", 303)
    if not store:
        return page(service, "no_sql.html", section="sql")
    if not (service.stores.path(store) / MANIFEST).is_file():
        return page(service, "empty_store.html", section="sql", store=store)
    return page(service, "sql.html", section="sql", store=store, q=q, EXAMPLES=EXAMPLES)


@router.post("/sql/chart")
def chart(result: Result) -> HTMLResponse:
    """A chart of an answer, drawn as reports are; 204 where there is nothing to draw."""
    values = list(zip(*result.rows, strict=False)) or [()] * len(result.columns)
    columns = [
        Named(column.name, column.type, each) for column, each in zip(result.columns, values, strict=False)
    ]
    found = chart_of(columns)
    if found is None:
        return HTMLResponse(status_code=204)
    return HTMLResponse(
        fragment("sql_chart.html", found=found, lines=isinstance(found, list), drawn=drawn, svg=svg)
    )
