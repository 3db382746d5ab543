"""A page that needs nothing beside itself: what every report is written with."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forgetless.curator.report.templates import PAGE, environment
from forgetless.schemas.errors import UsageError

SCRIPTS = ("theme.js", "tokens.js", "figures.js")
"""Of every page, in this order; each works alone."""


def document(template: str, folder: Path, style: str, **values: Any) -> str:
    """The page of a template in `folder`, with `style` behind what all pages have.

    All that is put into it is escaped, and the page allows no script or style but its own.
    """
    style = (PAGE / "page.css").read_text() + style
    script = "".join((PAGE / name).read_text() for name in SCRIPTS)
    templates = environment(folder)
    templates.globals.update(values)
    return templates.get_template(template).render(
        style=Markup(style), script=Markup(script), policy=_policy(style, script)
    )


def _policy(style: str, script: str) -> str:
    """Content security policy: nothing is loaded, and only these two texts are obeyed."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write_page(path: Path, page: str) -> int:
    """Write the page and return its bytes. UsageError where no file can be written."""
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder", "name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {str(path.absolute().parent)!r}", "make it first")
    try:
        return path.write_bytes(page.encode())
    except PermissionError:
        raise UsageError(f"{str(path)!r} must not be written", "name another place for the page") from None
