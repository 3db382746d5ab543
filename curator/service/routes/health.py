"""Whether the service is alive, whether it can work, and its figures."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from forgetless.curator.service.metrics import exposition
from forgetless.curator.service.problems import PROBLEMS, Problem
from forgetless.curator.service.service import Given
from forgetless.schemas.base import Frozen

router = APIRouter(tags=["health"])


class Status(Frozen):
    """All is well."""

    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Status:
    """The process answers."""
    return Status()


@router.get("/readyz", responses={503: PROBLEMS[400]})
def readyz(service: Given) -> Status:
    """The queue runs, and its file can be read."""
    if not service.queue.is_running:
        raise Problem(503, "the queue does not run")
    service.ledger.counts()
    return Status()


@router.get("/metrics", response_class=Response, responses=PROBLEMS)
def metrics(service: Given) -> Response:
    """Tokens per second, records, rejects, jobs by state, engine restarts; for Prometheus."""
    return Response(exposition(service), media_type=CONTENT_TYPE_LATEST)
