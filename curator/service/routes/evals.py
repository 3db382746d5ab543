"""/v1/evals: measured figures, and jobs that measure."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from forgetless.curator.service.ledger import Job
from forgetless.curator.service.problems import PROBLEMS
from forgetless.curator.service.routes.jobs import CREATED, Key, create
from forgetless.curator.service.service import Given
from forgetless.schemas.base import Frozen
from forgetless.schemas.jobs import Eval

router = APIRouter(prefix="/v1/evals", tags=["evals"], responses=PROBLEMS)

_EVALS = """
    SELECT run_id, name, phase, model, task, role, metric, value, count, seed, snapshot, created FROM evals
    WHERE ($name::VARCHAR IS NULL OR name = $name) AND ($task::VARCHAR IS NULL OR task = $task)
      AND ($metric::VARCHAR IS NULL OR metric = $metric)
    ORDER BY created DESC, run_id, phase, task, metric LIMIT $limit OFFSET $offset"""


class Measured(Frozen):
    """One measured figure."""

    run_id: str
    name: str
    """Of the training, or of the model that was measured."""
    phase: str
    """before, after, step N, or eval."""
    model: str | None
    task: str
    role: str
    metric: str
    value: float | None
    count: int
    seed: int | None
    snapshot: int | None
    created: datetime


class EvalPage(Frozen):
    """Figures, the newest first."""

    evals: list[Measured]
    next: int | None
    """The `offset` of the next page; null on the last."""


@router.post("", status_code=201, responses=CREATED)
async def create_eval(asked: Eval, service: Given, response: Response, key: Key = None) -> Job:
    """Queue a measurement of a model by a suite; as a job of the verb `eval`."""
    return await create(service, asked, key, response)


@router.get("")
def list_evals(
    store: str,
    service: Given,
    name: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> EvalPage:
    """What was measured of the models that a store's records have trained."""
    given = {"name": name, "task": task, "metric": metric, "limit": limit + 1, "offset": offset}
    with service.stores.reading(store) as connection:
        rows = connection.sql(_EVALS, params=given).to_arrow_table().to_pylist()
    more = len(rows) > limit
    return EvalPage(evals=[Measured(**row) for row in rows[:limit]], next=offset + limit if more else None)
