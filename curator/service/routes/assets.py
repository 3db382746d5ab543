"""/static/report: the style and the scripts that reports are written with, for the page."""

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from forgetless.curator.report.html import level_styles
from forgetless.curator.report.templates import PAGE
from forgetless.curator.service.problems import Problem

router = APIRouter(prefix="/static/report", include_in_schema=False)


@router.get("/levels.css")
def levels() -> Response:
    """The colours of the classes of perplexity."""
    return Response(level_styles(), media_type="text/css")


@router.get("/{name}")
def asset(name: str) -> FileResponse:
    """One file."""
    if name not in {file.name for file in PAGE.iterdir() if file.suffix in (".css", ".js")}:
        raise Problem(404, f"there is no {name!r} here")
    return FileResponse(PAGE / name)
