"""Pages are made from templates: what all of them are read and written with."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from forgetless.curator.report.visible import one_line, safe, tangible

PAGE = Path(__file__).parent / "page"
"""The report's templates, style and scripts, which other pages use too."""


def environment(folder: Path) -> Environment:
    """Templates in `folder`, and the report's. All that is put into them is escaped."""
    found = Environment(
        loader=FileSystemLoader([folder, PAGE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        safe_text=safe, one_line=one_line, piece=lambda text: tangible(text).replace(" ", "␣"),
        count="{:,}".format, percent="{:.1%}".format, short=lambda name: str(name)[:12],
        when=lambda time: time.strftime("%-d %B %Y, %H:%M UTC"),
    )  # fmt: skip
    return found
