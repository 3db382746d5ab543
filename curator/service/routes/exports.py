"""/v1/exports: records as datasets for other trainers."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from forgetless.curator.service.archive import files_in, zipped
from forgetless.curator.service.confinement import inside
from forgetless.curator.service.ledger import Job
from forgetless.curator.service.problems import PROBLEMS, Problem
from forgetless.curator.service.routes.jobs import CREATED, LARGEST, Jobs, Key, create
from forgetless.curator.service.service import Given, Service
from forgetless.schemas.base import Frozen
from forgetless.schemas.jobs import Export

router = APIRouter(prefix="/v1/exports", tags=["exports"], responses=PROBLEMS)


class ExportFile(Frozen):
    """One of a dataset's files."""

    name: str
    bytes: int


class Exported(Frozen):
    """An export and what it has written."""

    job: Job
    files: list[ExportFile]
    """None while it is being written: the folder appears when it is complete."""


@router.post("", status_code=201, responses=CREATED)
async def create_export(asked: Export, service: Given, response: Response, key: Key = None) -> Job:
    """Queue an export; as a job of the verb `export`."""
    return await create(service, asked, key, response)


@router.get("")
async def list_exports(
    service: Given,
    store: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
) -> Jobs:
    """Jobs that export, the newest first."""
    found = service.ledger.jobs(None, "export", store, limit + 1, before)
    shown = found[:limit]
    return Jobs(jobs=shown, next=shown[-1].number if len(found) > limit else None)


@router.get("/{id}")
def read_export(id: str, service: Given) -> Exported:
    """One, with its files."""
    job, folder = _export(id, service)
    files = [
        ExportFile(name=str(path.relative_to(folder)), bytes=path.stat().st_size) for path in files_in(folder)
    ]
    return Exported(job=job, files=files if job.state == "succeeded" else [])


@router.get(
    "/{id}/download",
    response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_export(id: str, service: Given) -> StreamingResponse:
    """All of its files as a zip."""
    job, folder = _export(id, service)
    if job.state != "succeeded":
        raise Problem(409, f"export {id!r} is {job.state}", "wait until it has succeeded")
    if not folder.is_dir():
        raise Problem(404, f"the files of export {id!r} are gone", "export again")
    name = f"{'-'.join(job.stores) or 'export'}-{job.request['format']}-{job.id[:8]}.zip"
    headers = {"content-disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}"'}
    return StreamingResponse(zipped(folder), media_type="application/zip", headers=headers)


def _export(id: str, service: Service) -> tuple[Job, Path]:
    """The job and its folder, which must still lie where jobs may write."""
    job = service.ledger.job(id)
    if job.verb != "export":
        raise Problem(404, f"job {id!r} is no export but {job.verb!r}", f"GET /v1/jobs/{id}")
    to = job.request.get("to")
    return job, inside(to, service.settings) if to else service.queue.folder(id) / "export"
