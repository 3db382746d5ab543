"""A browser that looks at the service's pages and finds fault with them."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

ROOT = Path(__file__).parent.parent
ARTEFACTS = Path(os.environ.get("FORGETLESS_ARTEFACTS", ROOT / ".artefacts"))
"""Where screenshots are kept."""
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
GRAVE = ("serious", "critical")
"""What axe calls findings that shut people out."""


def executable() -> str | None:
    """Debian's Chromium, or another one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@dataclass
class Visitor:
    """One who is signed in, and whose page is watched."""

    address: str
    page: Page
    errors: list[str] = field(default_factory=list)
    """Of the console, and of scripts."""
    foreign: list[str] = field(default_factory=list)
    """Requests that went elsewhere."""

    @classmethod
    def of(cls, context: BrowserContext, address: str) -> "Visitor":
        """A new page, watched from the beginning."""
        visitor = cls(address, context.new_page())
        visitor.page.on("console", visitor._heard)
        visitor.page.on("pageerror", lambda error: visitor.errors.append(str(error)))
        context.on("request", visitor._requested)
        return visitor

    def open(self, path: str) -> Page:
        """Go to a page of the service."""
        self.page.goto(self.address + path)
        return self.page

    def check(self, name: str, axe: bool = True) -> None:
        """In both themes and on both sizes: nothing is wider than the screen, axe finds nothing grave; with pictures."""
        for theme in ("light", "dark"):
            for size, (width, height) in SIZES.items():
                self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                self.page.set_viewport_size({"width": width, "height": height})
                self._shot(f"{name}-{theme}-{size}")
                overflow = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert overflow <= 0, f"{name} on a {size} is {overflow} pixels too wide"
                if axe:
                    assert not (found := findings(self.page)), f"{name}, {theme}, {size}: {found}"
        self.page.set_viewport_size({"width": 1280, "height": 800})
        self.passed()

    def passed(self) -> None:
        """Nothing went wrong so far, and nothing was loaded from elsewhere."""
        assert not self.errors and not self.foreign, (self.errors, self.foreign)

    def _shot(self, name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def _requested(self, request: Request) -> None:
        if f"http://{urlsplit(request.url).netloc}" != self.address:
            self.foreign.append(request.url)


def findings(page: Page) -> list[dict[str, Any]]:
    """What axe finds that is serious or critical: rule, and the elements."""
    violations = Axe().run(page).response["violations"]
    return [
        {"rule": each["id"], "elements": [node["html"][:200] for node in each["nodes"]][:5]}
        for each in violations
        if each["impact"] in GRAVE
    ]
