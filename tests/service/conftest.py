"""A real service over a small real store, and a real browser that is signed in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import Visitor, executable
from paged import make_store
from playwright.sync_api import Browser, sync_playwright
from serving import Serving, serving

from forgetless.curator.store import Store

Visit = Callable[[Serving], Visitor]


@pytest.fixture(scope="session")
def paged_store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    """See tests/paged.py."""
    return make_store(tmp_path_factory.mktemp("stores") / "paged", demo_model)


@pytest.fixture(scope="session")
def site(paged_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service with that store as `paged`, and with one that is not made yet as `new`."""
    root = tmp_path_factory.mktemp("root")
    home = tmp_path_factory.mktemp("service") / "home"
    home.mkdir()
    named = (f"paged={paged_store.path}", f"new={root / 'new'}")
    with serving(*named, "--root", root, home=home) as running:
        yield running


# Not for the session: as long as it is there, a loop runs, and other tests that start one would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    path = executable()
    if path is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(site)`: one who is signed in there. When the test has passed, nothing may have gone wrong unseen."""
    visitors = []

    def signed_in(there: Serving) -> Visitor:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.request.post(f"{there.address}/login", form={"token": there.token})
        visitors.append(Visitor.of(context, there.address))
        return visitors[-1]

    yield signed_in
    for visitor in visitors:
        visitor.page.context.close()


@pytest.fixture
def visitor(visit: Visit, site: Serving) -> Iterator[Visitor]:
    """One who is signed in to `site`; nothing may go wrong unseen."""
    found = visit(site)
    yield found
    found.passed()
