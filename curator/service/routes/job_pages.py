"""The pages of jobs: all of them, one that is followed live, and the form for a new one."""

import json
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, HTMLResponse

from forgetless.curator.service import job_page
from forgetless.curator.service.ledger import ENDED, Job, State
from forgetless.curator.service.problems import Problem
from forgetless.curator.service.rendering import fragment, page
from forgetless.curator.service.routes.jobs import LARGEST
from forgetless.curator.service.service import Given, Service

router = APIRouter(include_in_schema=False)

SHOWN = 50
LINES = 400
"""Events with lines of the log that a page begins with."""
REPORT = "report.html"
"""In a job's folder."""

Before = Annotated[int | None, Query(ge=0, le=LARGEST)]


@router.get("/jobs")
def jobs(service: Given, state: State | None = None, before: Before = None) -> HTMLResponse:
    """All, or those in a state."""
    return page(
        service, "jobs.html", section="jobs", states=get_args(State), **_listed(service, state, before)
    )


@router.get("/jobs/rows")
def rows(service: Given, state: State | None = None, before: Before = None) -> HTMLResponse:
    """The list by itself, for a page that is kept up to date."""
    return HTMLResponse(fragment("job_rows.html", **_listed(service, state, before)))


def _listed(service: Service, state: State | None, before: int | None) -> dict[str, Any]:
    found = service.ledger.jobs(state=state, limit=SHOWN + 1, before=before)
    shown = found[:SHOWN]
    return {
        "jobs": shown, "next": shown[-1].number if len(found) > SHOWN else None, "state": state, "before": before,
        "counts": service.ledger.counts(), "p": job_page, "places": set(service.stores.paths()),
    }  # fmt: skip


@router.get("/jobs/new")
def new(service: Given, store: str = "", verb: str = "build") -> HTMLResponse:
    """The form; what it begins with stands in the address."""
    places = {name: str(path) for name, path in service.stores.paths().items()}
    return page(service, "new_job.html", section="jobs", store=store if store in places else None, places=places,
                verb=verb, base=str(service.settings.base), p=job_page)  # fmt: skip


@router.get("/jobs/{id}")
def show(id: str, service: Given) -> HTMLResponse:
    """One, followed live."""
    bars, log, last = service.ledger.told(service.ledger.job(id), LINES)
    job = service.ledger.job(id)  # after them: an end that is in them must be shown, what comes later is told
    return page(
        service,
        "job.html",
        section="jobs",
        bars=bars,
        log=log,
        last=last,
        LINES=LINES,
        **_shown(service, job),
    )


@router.get("/jobs/{id}/facts")
def facts(id: str, service: Given) -> HTMLResponse:
    """Its state and its result by themselves, for a page that is kept up to date."""
    return HTMLResponse(fragment("job_facts.html", **_shown(service, service.ledger.job(id))))


@router.get("/jobs/{id}/report")
def report(id: str, service: Given) -> FileResponse:
    """The page that it has written, as a file: this page's policy would not let it look as it should."""
    file = service.queue.folder(service.ledger.job(id).id) / REPORT
    if not file.is_file():
        raise Problem(404, f"job {id!r} has no report", "a report job writes one")
    return FileResponse(file, filename=f"forgetless-{id[:8]}.html", media_type="text/html")


def _shown(service: Service, job: Job) -> dict[str, Any]:
    return {
        "job": job, "p": job_page, "ended": job.state in ENDED, "places": set(service.stores.paths()),
        "has_report": (service.queue.folder(job.id) / REPORT).is_file(),
        "raw": json.dumps(job.result, indent=2, ensure_ascii=False) if job.result is not None else "",
    }  # fmt: skip
