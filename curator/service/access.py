"""Who may ask: a bearer token or the page's cookie, from this host, from this page, in bodies of a sane size."""

import hashlib
import hmac
import os
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forgetless.curator.service.problems import problem
from forgetless.curator.service.settings import Settings
from forgetless.schemas.errors import UsageError

COOKIE = "forgetless"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
OPEN = ("/healthz", "/readyz", "/login")
"""Answered without a token; so is /static/."""
SHORTEST = 32
"""Characters of a token."""
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # none: forms would be sent with Origin: null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Keys:
    """The token, what the cookie holds instead of it, and a code for the first visit."""

    def __init__(self, file: Path) -> None:
        self.token = _kept_token(file)
        self.session = hmac.digest(self.token.encode(), b"session", hashlib.sha256).hex()
        self._code: str | None = secrets.token_urlsafe(24)

    def link(self, address: str) -> str:
        """Where a browser is let in, once."""
        return f"{address}/login?code={self._code}"

    def redeem(self, code: str) -> bool:
        """Whether `code` is the one that was printed; it is worth nothing afterwards."""
        right = self._code is not None and _same(code, self._code)
        self._code = None if right else self._code
        return right

    def opens(self, token: str) -> bool:
        """Whether it is the token."""
        return _same(token, self.token)

    def knows(self, headers: Headers) -> bool:
        """Whether a request carries the token, or the cookie."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.opens(token.strip())
        return _same(_cookie(headers), self.session)


def _kept_token(file: Path) -> str:
    """The token in `file`, which only its owner can read; made if there is none."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _checked(file)
    token = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as stream:
        stream.write(token + "\n")
    return token


def _checked(file: Path) -> str:
    token = file.read_text().strip()
    if file.stat().st_mode & 0o077:
        raise UsageError(f"others can read the token in {str(file)!r}", f"chmod 600 {file}")
    if len(token) < SHORTEST:
        raise UsageError(
            f"the token in {str(file)!r} has fewer than {SHORTEST} characters",
            "remove the file, and a new one is made",
        )
    return token


def _same(given: str, right: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), right.encode())


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


class Access:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys) -> None:
        self.app, self.keys, self.limit = app, keys, settings.body_bytes
        names = (
            (*LOOPBACK, settings.host)
            if settings.host in ("127.0.0.1", "::1", "localhost")
            else (settings.host,)
        )
        self.hosts = {f"{name}:{settings.port}" for name in names} | set(settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a limit on the body and headers on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        sender = _with_headers(send)
        if refusal:
            await refusal(scope, receive, sender)
            return
        await self.app(scope, _limited(receive, self.limit), sender)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        path, unsafe = scope["path"], scope["method"] not in SAFE
        if headers.get("host", "") not in self.hosts:
            return problem(403, "this host name is not served here", "serve --allow-host NAME:PORT")
        origin = headers.get("origin")
        if origin is not None and not self._own(origin):
            return problem(403, "a request from another origin")
        if path in OPEN or path.startswith("/static/"):
            return None
        if not self.keys.knows(headers):
            return self._unknown(scope, headers)
        if unsafe and origin is None and "authorization" not in headers:
            return problem(403, "a request that changes something must name its Origin, or carry the token")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limit:
            return problem(413, _too_large(self.limit))
        return None

    def _own(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc in self.hosts

    def _unknown(self, scope: Scope, headers: Headers) -> ASGIApp:
        if "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            wanted = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(
                "/login" if wanted == "/" else f"/login?{urlencode({'next': wanted})}", 303
            )
        response = problem(
            401, "no valid token", "Authorization: Bearer …; `forgetless serve` says where it lies"
        )
        response.headers["www-authenticate"] = "Bearer"
        return response


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit:,} bytes"


def _limited(receive: Receive, limit: int) -> Receive:
    """Counts what comes without a length, or with a wrong one."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given),
            ]
        await send(message)

    return sender
