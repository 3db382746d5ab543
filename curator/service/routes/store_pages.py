"""The pages of stores: which there are, what is in one, its records, and one of them."""

import json
import math
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from forgetless.curator.report.answers import ALL_KINDS
from forgetless.curator.report.distribution import TOKEN_STEP
from forgetless.curator.report.heatmap import LEVELS, level_of
from forgetless.curator.report.html import chunks, heatmap
from forgetless.curator.report.order import figure
from forgetless.curator.service import records
from forgetless.curator.service.record_page import record_view
from forgetless.curator.service.records import Filters, Order
from forgetless.curator.service.rendering import page
from forgetless.curator.service.service import Given, Service
from forgetless.curator.service.store_page import contents, figures
from forgetless.curator.store.store import MANIFEST
from forgetless.schemas.errors import ForgetlessError

router = APIRouter(include_in_schema=False)

ORDERS = {name: name.capitalize() for name in get_args(Order)}
STEPS = 276
"""The mask's slider goes from a perplexity of 1 to 244, in steps of two hundredths of a nat."""
STATUSES = {"accepted": "Accepted", "rejected": "Rejected", "intermediate": "Intermediate", "all": "All"}


@router.get("/")
def home(service: Given) -> Response:
    """All stores; the only one's overview."""
    names = list(service.stores.paths())
    if len(names) == 1:
        return RedirectResponse(f"/stores/{names[0]}", 303)
    found = [{"name": name} | _told(service, name) for name in names]
    return page(service, "stores.html", section="overview", found=found, KINDS=ALL_KINDS)


@router.get("/stores/{store}")
def overview(
    store: str,
    service: Given,
    task: str | None = None,
    scorer: str | None = None,
) -> HTMLResponse:
    """What is in a store; the figures come after."""
    found = _contents(service, store)
    if found is None:
        return page(service, "empty_store.html", section="overview", store=store)
    return page(
        service, "store.html", section="overview", store=store, c=found, task=task or None, scorer=scorer or None,
        path=service.stores.path(store), KINDS=ALL_KINDS,
    )  # fmt: skip


@router.get("/stores/{store}/figures")
def figures_of_store(
    store: str, service: Given, task: str | None = None, scorer: str | None = None
) -> HTMLResponse:
    """The figures of the overview."""
    return HTMLResponse(figures(service, store, task or None, scorer or None))


@router.get("/stores/{store}/records")
def browse(store: str, service: Given, request: Request) -> HTMLResponse:
    """Rows by filters, all of which stand in the address."""
    found = _contents(service, store)
    if found is None:
        return page(service, "empty_store.html", section="records", store=store)
    given = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
    listed, said = None, ""
    try:
        filters = Filters.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        said = f"{wrong['loc'][0]}: {wrong['msg']}"
    else:
        with service.stores.reading(store) as connection:
            listed = records.list_records(connection, filters)
    return page(
        service, "records.html", section="records", store=store, c=found, given=given, listed=listed, said=said,
        KINDS=ALL_KINDS, ORDERS=ORDERS, STATUSES=STATUSES, figure=figure, level=_level, status=422 if said else 200,
        query=_query, zip=zip,
        tasks=sorted({task for kind in found["kinds"] for task in kind["tasks"] or []}),
        steps=sorted({step for kind in found["kinds"] for step in kind["steps"]}),
    )  # fmt: skip


@router.get("/stores/{store}/records/{id}")
def show(
    store: str,
    id: Annotated[str, Path(pattern="^[0-9a-f]{4,32}$")],
    service: Given,
    scorer: str | None = None,
    threshold: Annotated[float, Query(ge=1, le=1e6)] = 2.5,
) -> HTMLResponse:
    """One row, token by token."""
    view = record_view(service, store, id, scorer or None)
    place = min(round(math.log(threshold) / TOKEN_STEP), STEPS)
    return page(
        service, "record.html", section="records", store=store, v=view, r=view.record,
        place=place, threshold=math.exp(place * TOKEN_STEP), step=TOKEN_STEP, steps=STEPS,
        metadata=json.dumps(view.record.metadata, ensure_ascii=False, indent=2),
        heatmap=heatmap, chunks=chunks, KINDS=ALL_KINDS, LEVELS=LEVELS, figure=figure,
    )  # fmt: skip


def _told(service: Service, name: str) -> dict[str, Any]:
    """What is in a store, or why it cannot be read: one must not hide the others."""
    try:
        return {"contents": _contents(service, name), "said": None}
    except ForgetlessError as error:
        return {"contents": None, "said": error.message}


def _contents(service: Service, name: str) -> dict[str, Any] | None:
    """None of a store that no job has made yet."""
    if not (service.stores.path(name) / MANIFEST).is_file():
        return None
    return contents(service, name)


def _query(given: dict[str, str], **changes: str) -> str:
    """An address with the same filters but these."""
    return "?" + urlencode({name: value for name, value in (given | changes).items() if value})


def _level(perplexity: float) -> int:
    """The class of a perplexity, by its number."""
    return LEVELS.index(level_of(perplexity))
