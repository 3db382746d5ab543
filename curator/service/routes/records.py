"""/v1/stores/{s}/records: what is in a store, row by row and token by token."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json

from forgetless.curator.service import records
from forgetless.curator.service.problems import PROBLEMS
from forgetless.curator.service.records import Filters, Record, RecordPage
from forgetless.curator.service.responses import etag
from forgetless.curator.service.service import Given, Service
from forgetless.curator.store import Store

router = APIRouter(prefix="/v1/stores/{store}/records", tags=["records"], responses=PROBLEMS)


@router.get("")
def list_records(store: str, filters: Annotated[Filters, Query()], service: Given) -> RecordPage:
    """Rows by filters, a page at a time; `next` is the `cursor` of the page behind it."""
    with service.stores.reading(store, filters.snapshot) as connection:
        return records.list_records(connection, filters)


@router.get("/{id}", response_model=Record)
async def read_record(
    store: str,
    id: Annotated[str, Path(pattern="^[0-9a-f]{4,32}$")],
    service: Given,
    request: Request,
    scorer: str | None = None,
) -> Response:
    """A row, by its id or the beginning of it, with its tokens and their statistics."""
    opened = service.stores.get(store)
    key = (opened.path, service.stores.state(opened), id, scorer)
    version = etag(*key)
    if request.headers.get("if-none-match") == version:
        return Response(status_code=304, headers={"etag": version})
    body = service.kept.find(key) or await run_in_threadpool(
        service.kept.get, key, lambda: _json(service, opened, id, scorer)
    )
    return Response(body, media_type="application/json", headers={"etag": version})


def _json(service: Service, store: Store, id: str, scorer: str | None) -> bytes:
    return to_json(records.read(service.parts, service.stores.files(store), id, scorer), inf_nan_mode="null")
