"""`forgetless template`: what a chat template implies."""

import json
from pathlib import Path
from typing import Any

import click

from forgetless.schemas.errors import UsageError


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="MODEL_OR_TOKENIZER_FOLDER_OR_JINJA_FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--start-token", metavar="TOKEN", help="What a text starts with where the tokenizer has no BOS."
)
def template(source: Path, as_json: bool, start_token: str | None) -> None:
    """Show what a chat template implies: pre-query, stop tokens, system turn, BOS.

    A Jinja file alone gives the texts; with a folder there are token ids too.
    """
    if source.is_dir():
        report, failure = _of_folder(source, start_token)
    else:
        from forgetless.curator.chat.format import describe

        report, failure = describe(_read(source), start_token), None
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print(report)
    if failure:
        raise failure


def _read(file: Path) -> str:
    way_out = "name a folder with a tokenizer, or a Jinja file"
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{str(file)!r} does not exist", way_out) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(file)!r} cannot be read as a template: {error}", way_out) from None


def _of_folder(folder: Path, start_token: str | None) -> tuple[dict[str, Any], UsageError | None]:
    """The report, or what can be said of a tokenizer whose template cannot be cut, and why it cannot."""
    from forgetless.curator.chat.format import ChatFormat
    from forgetless.curator.models import load_tokenizer, stop_ids
    from forgetless.schemas.errors import TemplateError

    tokenizer = load_tokenizer(folder)
    try:
        return ChatFormat.of(tokenizer, start_token).report(), None
    except TemplateError as error:
        ends = tokenizer.convert_ids_to_tokens(stop_ids(folder, tokenizer))
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        return {
            "pre_query": None, "pre_query_with_system": None, "generation_prompt": None, "stop_tokens": ends,
            "bos": start_token or tokenizer.bos_token, "special_tokens": special, "warnings": [error.message],
        }, error  # fmt: skip


def _print(report: dict[str, Any]) -> None:
    """A table with newlines made visible, and the warnings below it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in report.items():
        if key != "warnings":
            table.add_row(key.replace("_", " "), _cell(value, Text))
    console = Console()
    console.print(table)
    for warning in report["warnings"]:
        console.print(Text(f"! {_visible(warning)}", style="yellow"))


def _cell(value: Any, text: Any) -> Any:
    if value is None or value == []:
        return text("none", style="dim")
    if isinstance(value, bool):
        return text("yes" if value else "no")
    if isinstance(value, list):
        return text("  ".join(_visible(str(item)) for item in value))
    return text(_visible(str(value)))


def _visible(value: str) -> str:
    return value.replace("\n", "⏎")
