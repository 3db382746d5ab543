"""/login: lets a browser in, by the link that `serve` prints or by the token."""

import re
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from forgetless.curator.service.access import COOKIE
from forgetless.curator.service.rendering import login_page
from forgetless.curator.service.service import Given, Service

router = APIRouter(include_in_schema=False)

DAYS = 30
"""How long a browser is known."""

Next = Annotated[str, Query(max_length=4000)]


@router.get("/login")
def look(service: Given, request: Request, code: str = "", next: Next = "/", known: bool = False) -> Response:
    """In with a code that is worth something; else the form. `known`: only whether the browser is known already."""
    if known:
        return JSONResponse({"known": service.keys.knows(request.headers)})
    if code and service.keys.redeem(code):
        return _let_in(service, next)
    said = "This link has been used, or is from an earlier start." if code else ""
    return login_page(_local(next), said)


@router.post("/login")
async def enter(request: Request, service: Given) -> Response:
    """In with the token."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    token, after = (fields.get(name, [""])[0].strip() for name in ("token", "next"))
    if service.keys.opens(token):
        return _let_in(service, after)
    return login_page(_local(after), "That is not the token.", 401)


def _let_in(service: Service, after: str) -> Response:
    response = RedirectResponse(_local(after), 303)
    response.set_cookie(
        COOKIE, service.keys.session, max_age=DAYS * 24 * 3600, path="/", httponly=True, samesite="strict"
    )
    return response


def _local(address: str) -> str:
    """A page of this service, and never another's."""
    return address if re.fullmatch(r"/(?![/\\])[^\x00-\x20]*", address) else "/"
