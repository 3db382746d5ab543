"""/v1/jobs: verbs of the command line that run for minutes to days."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, get_args

import anyio
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from sse_starlette import EventSourceResponse, ServerSentEvent

from forgetless.curator.service.child import LOG
from forgetless.curator.service.ledger import ENDED, Event, Job, State, Type
from forgetless.curator.service.problems import PROBLEMS
from forgetless.curator.service.queue import Queue
from forgetless.curator.service.service import Given, Service
from forgetless.curator.service.tail import readable
from forgetless.schemas.base import Frozen
from forgetless.schemas.jobs import AnyJob

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=PROBLEMS)

LARGEST = 2**53
"""The largest number that JSON's readers agree on."""
HEARTBEAT_SECONDS, RETRY_MILLISECONDS = 15, 1000
LEAVE_SECONDS = 2
SEND_SECONDS = 60
"""Who takes nothing for so long is gone."""

EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"enum": list(get_args(Type))},
        "id": {"type": "string", "description": "Its number, from 1 without a gap"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""A server-sent event, as its fields."""

Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key makes one job."),
]
CREATED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The job that the same Idempotency-Key has made before", "model": Job},
}


class Jobs(Frozen):
    """A page of jobs, the newest first."""

    jobs: list[Job]
    next: int | None
    """`before` of the page behind it."""


@router.post("", status_code=201, responses=CREATED)
async def create_job(asked: AnyJob, service: Given, response: Response, key: Key = None) -> Job:
    """Queue a verb of the command line; with an Idempotency-Key it is safe to ask again."""
    return await create(service, asked, key, response)


async def create(service: Service, asked: AnyJob, key: str | None, response: Response) -> Job:
    """A job that was asked for by whatever route."""
    job, made = await service.queue.submit(asked, key)
    response.status_code = 201 if made else 200
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("")
async def list_jobs(
    service: Given,
    state: State | None = None,
    verb: str | None = None,
    store: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
) -> Jobs:
    """Jobs by state, verb and store, a page at a time."""
    found = service.ledger.jobs(state, verb, store, limit + 1, before)
    shown = found[:limit]
    return Jobs(jobs=shown, next=shown[-1].number if len(found) > limit else None)


@router.get("/{id}")
async def read_job(id: str, service: Given) -> Job:
    """One."""
    return service.ledger.job(id)


@router.post("/{id}/cancel")
async def cancel_job(id: str, service: Given) -> Job:
    """Take it out of the queue, or ask its process to end: what it has committed is kept."""
    return service.queue.cancel(id)


@router.post("/{id}/resume")
async def resume_job(id: str, service: Given) -> Job:
    """Queue it again after it failed or was cancelled: it goes on where it was."""
    return service.queue.resume(id)


@router.get(
    "/{id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "`event:` is the type, `id:` its number, `data:` JSON; it ends with the job",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        204: {"description": "The job has ended and nothing is left to tell: do not ask again"},
    },
)
async def stream_events(
    id: str,
    service: Given,
    after: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=LARGEST)] = None,
) -> Response:
    """What happens to it, as server-sent events; a client that comes back goes on behind Last-Event-ID, or `after`."""
    behind = last_event_id if last_event_id is not None else after or 0
    job = service.ledger.job(id)
    if job.state in ENDED and not service.ledger.events(job, behind, 1):
        return Response(status_code=204)
    leaving = anyio.Event()
    return EventSourceResponse(
        _sent(service.queue, id, behind, leaving), ping=HEARTBEAT_SECONDS, send_timeout=SEND_SECONDS, sep="\n",
        shutdown_event=leaving, shutdown_grace_period=LEAVE_SECONDS,
    )  # fmt: skip


async def _sent(queue: Queue, id: str, after: int, leaving: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    """Ends in good order when the service does: the client comes back."""
    waker = asyncio.create_task(_wake(queue, id, leaving))
    try:
        yield ServerSentEvent(retry=RETRY_MILLISECONDS, sep="\n")
        async for event in queue.events(id, after, leaving):
            yield ServerSentEvent(_data(event), event=event.type, id=str(event.number), sep="\n")
    finally:
        waker.cancel()


async def _wake(queue: Queue, id: str, leaving: anyio.Event) -> None:
    await leaving.wait()
    queue.wake(id)


def _data(event: Event) -> str:
    return to_json(event.data, inf_nan_mode="null").decode()


@router.get("/{id}/log", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def read_log(id: str, service: Given) -> StreamingResponse:
    """All that it has said, over all attempts."""
    job = service.ledger.job(id)
    lines = readable(service.queue.folder(job.id) / LOG)
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8")
