"""`forgetless import-stats STORE FILE`: token statistics that somebody else has published."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgetless.pipelines.import_stats import StatsReport
    from forgetless.schemas.foreign import ForeignStats


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--ids", metavar="COLUMN", help="Lists of token ids.")
@click.option("--text", metavar="COLUMN", help="Text: for people, or without ids to be tokenised.")
@click.option("--logprob", metavar="COLUMN", help="Lists of natural log-probs, one per token.")
@click.option("--perplexity", metavar="COLUMN", help="Or lists of perplexities, one per token.")
@click.option("--labels", metavar="COLUMN", help="Targets: lists of labels, -100 for all other tokens.")
@click.option("--mask", metavar="COLUMN", help="Or lists of flags, 0 for all other tokens.")
@click.option("--spans", metavar="COLUMN", help="Or lists of {start, end}.")
@click.option("--prompt-length", metavar="COLUMN", help="Or how many tokens come before the target.")
@click.option("--answer-after", metavar="IDS", help="Or what follows these ids: 128006,78191,128007,271.")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="Folder of the ids' tokenizer.")
@click.option("--model", help="Folder or hub id of the model that the statistics are of.")
@click.option("--scorer", default="", help="Name of what made them; the file's name if not given.")
@click.option("--dtype", help="Type of its weights, where you know it.")
@click.option("--kind", default="imported", show_default=True, help="Of the records: ground_truth, replay, …")
@click.option("--task", default="", help="Task of the records; the file's name if not given.")
@click.option("--max-reject-share", default=0.9, show_default=True, help="More rejects: exit code 3.")
@click.option("--dry-run", is_flag=True, help="Read all of it and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_stats(
    store: Path, file: Path, dry_run: bool, as_json: bool, answer_after: str | None, **asked: Any
) -> None:
    """Take records with published per-token log-probs or perplexities.

    FILE is Parquet or Arrow, with token ids (or text and --tokenizer) and a value per token. Columns and options that are not given are guessed, and said. Rows that cannot be used become rejects.
    """
    from forgetless.curator.store import Store
    from forgetless.curator.store.store import MANIFEST
    from forgetless.pipelines.import_stats import StatsImport

    settings = _settings(path=file, answer_after=_ids(answer_after), **asked)
    statistics = StatsImport(settings)
    if dry_run:
        report = statistics.look(Store.open(store) if (store / MANIFEST).is_file() else None)
    else:
        report = statistics.run(Store.create(store))
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        _print(report, store, dry_run)
    _end_with(report, settings.max_reject_share)


def _end_with(report: "StatsReport", allowed: float) -> None:
    from forgetless.schemas.errors import TOO_MANY_REJECTS

    if report.rejected > allowed * report.rows:
        many = f"{report.rejected:,} of {report.rows:,} rows are rejects, {report.reasons[0]!r} the first"
        click.echo(f"{many} → name other columns, or allow more with --max-reject-share", err=True)
        raise SystemExit(TOO_MANY_REJECTS)


def _settings(**asked: Any) -> "ForeignStats":
    from pydantic import ValidationError

    from forgetless.schemas.errors import UsageError
    from forgetless.schemas.foreign import ForeignStats

    try:
        return ForeignStats(**asked)
    except ValidationError as error:
        first = error.errors()[0]
        option = "".join(f"--{part} {asked[str(part)]!r}: " for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{option}{message}", "`forgetless import-stats --help` shows how") from None


def _ids(text: str | None) -> list[int]:
    from forgetless.schemas.errors import UsageError

    try:
        return [int(part) for part in (text or "").replace(",", " ").split()]
    except ValueError:
        raise UsageError(f"--answer-after {text!r} is no list of token ids", "such as 13,271") from None


def _print(report: "StatsReport", store: Path, dry_run: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(_read(report), markup=False)
    for reason in report.reasons:
        console.print(f"  rejected: {reason}", style="dim", markup=False)
    if report.rejected > len(report.reasons):
        console.print(f"  and {report.rejected - len(report.reasons):,} more", style="dim")
    if dry_run:
        done = f"would add {report.added:,} rows and {report.scored:,} scores to"
    elif report.added or report.scored:
        done = f"{report.added:,} rows and {report.scored:,} scores are new: snapshot {report.snapshot} of"
    else:
        done = f"nothing to do: all of it is there, snapshot {report.snapshot} of"
    console.print(f"{done} {store}", markup=False)


def _read(report: "StatsReport") -> str:
    """What was read of the file, and as what."""
    columns = ", ".join(f"{what} from {name!r}" for what, name in report.columns.items())
    share = report.hard_tokens / report.target_tokens if report.target_tokens else 0
    lines = {
        "columns": columns,
        "targets": report.targets,
        "tokenizer": report.tokenizer,
        "scorer": f"{report.scorer} ({report.model})",
        "rows": f"{report.rows - report.rejected:,} taken, {report.rejected:,} rejected",
        "tokens": f"{report.tokens:,}, of which {report.target_tokens:,} are targets; {share:.1%} of these over perplexity 2.5",
    }
    return "\n".join(f"{what:<10} {said}" for what, said in lines.items())
