"""The service's pages: templates in the frame that all of them share."""

import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import Response

from forgetless.curator.report.templates import environment
from forgetless.curator.service.service import Service

FOLDER = Path(__file__).parent / "page"
ADVICE = {
    403: "This page does not take that request.",
    404: "There is nothing here.",
    500: "Something broke.",
}


@cache
def _templates() -> Environment:
    found = environment(FOLDER)
    found.globals["version"] = metadata.version("forgetless")
    return found


def fragment(name: str, **values: Any) -> str:
    """A template by itself."""
    return _templates().get_template(name).render(values)


def page(
    service: Service, name: str, *, section: str, store: str | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A template that extends frame.html.

    Args:
        section: which entry of the navigation is marked: overview, records, sql, jobs, trainings, or none ("").
        store: the store that the page is about; the navigation leads to the same one.
    """
    stores = list(service.stores.paths())
    shown = store if store in stores else (stores[0] if stores else None)
    text = fragment(name, section=section, store=store, nav_store=shown, stores=stores, **values)
    return HTMLResponse(text, status)


def login_page(after: str, said: str, status: int = 200) -> HTMLResponse:
    """The form for the token. `after`: where it leads; `said`: why it is shown again."""
    return HTMLResponse(fragment("login.html", after=after, said=said), status)


def error_page(request: Request, status: int, detail: str, hint: str = "") -> HTMLResponse:
    """What went wrong, and the way out."""
    title = ADVICE.get(status, "That did not work.")
    service: Service = request.app.state.service
    return page(service, "error.html", section="", status=status, title=title, detail=detail, hint=hint)


def shown_to_people(request: Request, problem: Response) -> Response:
    """A problem as a page where a browser asked for one."""
    path = request.url.path
    if path.startswith(("/v1/", "/static/")) or "text/html" not in request.headers.get("accept", ""):
        return problem
    told = json.loads(bytes(problem.body))
    return error_page(request, problem.status_code, told["detail"], told.get("hint", ""))
