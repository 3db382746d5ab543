"""A page that needs nothing beside itself: what every report is written with."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from forgetless.curator.report.visible import one_line, safe, tangible
from forgetless.schemas.errors import UsageError

PAGE = Path(__file__).parent / "page"


def document(template: str, folder: Path, style: str, **values: Any) -> str:
    """The page of a template in `folder`, with `style` behind what all pages have.

    All that is put into it is escaped, and the page allows no script or style but its own.
    """
    style, script = (PAGE / "page.css").read_text() + style, (PAGE / "page.js").read_text()
    environment = Environment(
        loader=FileSystemLoader([folder, PAGE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        safe_text=safe, one_line=one_line, piece=lambda text: tangible(text).replace(" ", "␣"),
        count="{:,}".format, percent="{:.1%}".format, short=lambda name: str(name)[:12],
        when=lambda time: time.strftime("%-d %B %Y, %H:%M UTC"),
    )  # fmt: skip
    environment.globals.update(values)
    return environment.get_template(template).render(
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
