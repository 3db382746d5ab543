"""Who is let in: token, cookie, host, origin, size."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import serving
from starlette.testclient import TestClient

from forgetless.curator.service.access import COOKIE, Keys
from forgetless.curator.service.app import create_app
from forgetless.curator.service.settings import Settings
from forgetless.schemas.errors import UsageError

HERE = "http://127.0.0.1:8765"
SAFE = {"get", "head", "options"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def app(home: Path) -> Any:
    """Not started: what is refused is refused before anything works."""
    return create_app(Settings(home=home, stores={"a": home / "a"}, roots=(home,), body_bytes=10_000))


@pytest.fixture
def client(app: Any) -> TestClient:
    return TestClient(app, base_url=HERE, follow_redirects=False, raise_server_exceptions=False)


@pytest.fixture
def token(app: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {app.state.service.keys.token}"}


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Method and path of all that is documented, with something in place of each parameter."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method, path.replace("{store}", "a").replace("{id}", "abcd").replace("{job}", "abcd")


def guarded(app: Any) -> list[tuple[str, str]]:
    found = [(m, p) for m, p in routes(app) if p.startswith("/v1/") or p == "/metrics"]
    assert len(found) > 20
    return [*found, ("get", "/openapi.json")]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}=wrong"}])
def test_nothing_without_the_token(app: Any, client: TestClient, headers: dict[str, str]) -> None:
    for method, path in guarded(app):
        refused = client.request(method, path, headers=headers)
        assert refused.status_code == 401, (method, path)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"}, {"host": "127.0.0.1:9999"}, {"host": "127.0.0.1.evil.example:8765"},
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8765.evil.example"}, {"origin": "http://[bad"},
    ],
)  # fmt: skip
def test_nothing_for_another_host_or_origin(
    app: Any, client: TestClient, token: dict[str, str], headers: dict[str, str]
) -> None:
    for method, path in guarded(app):
        assert client.request(method, path, headers=token | headers).status_code == 403, (method, path)
    cookie = {"cookie": f"{COOKIE}={app.state.service.keys.session}"}
    assert client.post("/v1/sql", headers=cookie | headers).status_code == 403


def test_the_cookie_alone_changes_nothing_without_an_origin(app: Any, client: TestClient) -> None:
    cookie = {"cookie": f"{COOKIE}={app.state.service.keys.session}"}
    for method, path in guarded(app):
        status = client.request(method, path, headers=cookie).status_code
        assert status not in (401,), (method, path)
        if method not in SAFE:
            assert status == 403, (method, path)
    assert client.post("/v1/sql", headers=cookie | {"origin": HERE}).status_code == 422


def test_health_needs_no_token(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 403


def test_no_other_origin_is_told_that_it_may_read(client: TestClient, token: dict[str, str]) -> None:
    asked = client.options(
        "/v1/stores",
        headers=token | {"origin": "http://evil.example", "access-control-request-method": "GET"},
    )
    assert asked.status_code == 403
    assert not [name for name in client.get("/healthz").headers if name.startswith("access-control")]


def test_a_body_has_a_limit(client: TestClient, token: dict[str, str]) -> None:
    assert client.post("/v1/sql", headers=token, content=b"x" * 20_000).status_code == 413

    def pieces() -> Iterator[bytes]:  # without a length
        for _ in range(20):
            yield b"x" * 1000

    assert client.post("/v1/sql", headers=token, content=pieces()).status_code == 413


def test_every_answer_says_what_a_page_may_do(client: TestClient) -> None:
    for path in ("/healthz", "/v1/stores", "/login", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'"), path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_link_lets_in_once(app: Any, client: TestClient) -> None:
    link = app.state.service.keys.link(HERE)
    assert client.get("/login?code=wrong").status_code == 200  # the form
    let_in = client.get(link)
    assert let_in.status_code == 303
    flags = let_in.headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=strict" in flags and "path=/" in flags
    client.cookies.clear()
    assert "set-cookie" not in client.get(link).headers
    assert (
        client.get("/v1/stores", headers={"cookie": let_in.headers["set-cookie"].split(";")[0]}).status_code
        == 200
    )


def test_the_token_is_kept_out_of_version_control(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / ".gitignore").write_text("ours\n")
    for name, said in (("made", "*\n"), ("there", "ours\n")):
        with serving(home=tmp_path / name):
            assert (tmp_path / name / ".gitignore").read_text() == said


def test_the_token_lies_where_only_its_owner_reads(tmp_path: Path) -> None:
    first = Keys(tmp_path / "token")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert Keys(tmp_path / "token").token == first.token and len(first.token) >= 32
    assert first.token not in first.session
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        Keys(tmp_path / "token")
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(UsageError, match="fewer than"):
        Keys(tmp_path / "short")
