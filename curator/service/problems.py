"""Errors as RFC 9457 problem details."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from forgetless.schemas.errors import ForgetlessError, StoreError, UsageError

MEDIA_TYPE = "application/problem+json"

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (400, 401, 403, 404, 409, 413, 422, 500, 504)
}
"""What every route under /v1 may answer besides; for its `responses`."""

SCHEMA = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457)",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "The way out"},
    },
}

log = logging.getLogger("forgetless.service")


class Problem(Exception):
    """A request that cannot be answered: status, what went wrong, and the way out."""

    def __init__(self, status: int, detail: str, hint: str = "", **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint, self.more = status, detail, hint, more


def problem(status: int, detail: str, hint: str = "", **more: Any) -> JSONResponse:
    """`type` is about:blank: the status says what kind it is."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body |= ({"hint": hint} if hint else {}) | more
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Every error of the application becomes a problem; none carries a traceback."""
    app.add_exception_handler(Problem, _handler(lambda e: problem(e.status, e.detail, e.hint, **e.more)))
    app.add_exception_handler(ForgetlessError, _handler(_of_ours))
    app.add_exception_handler(RequestValidationError, _handler(_of_validation))
    app.add_exception_handler(HTTPException, _handler(_of_http))
    app.add_exception_handler(Exception, _handler(_unexpected))


def _handler(answer: Callable[[Any], Response]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        from forgetless.curator.service.rendering import shown_to_people

        return shown_to_people(request, answer(error))

    return handle


def _of_ours(error: ForgetlessError) -> Response:
    status = 400 if isinstance(error, UsageError) else 409 if isinstance(error, StoreError) else 500
    return problem(status, error.message, error.hint)


def _of_validation(error: RequestValidationError) -> Response:
    errors = [
        {"pointer": "/".join(map(str, each["loc"])), "detail": each["msg"].removeprefix("Value error, ")}
        for each in error.errors()
    ]
    said = "; ".join(f"{each['pointer']}: {each['detail']}" for each in errors[:3])
    return problem(422, said or "the request is not as it should be", errors=errors)


def _of_http(error: HTTPException) -> Response:
    response = problem(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return problem(500, "unexpected error", "the service's log has the traceback")
