"""`forgetless export`: records as a dataset that other trainers load."""

from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["trl", "messages", "parquet"]),
    help="trl: token rows with labels. messages: chat JSONL. parquet: the records as they are.",
)
@click.option("--where", "condition", default="true", metavar="SQL", help="Condition on `records`.")
@click.option("--snapshot", type=int, help="Snapshot to read; the newest if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(store: Path, to: Path, form: str, condition: str, snapshot: int | None, as_json: bool) -> None:
    """Write records of STORE as a dataset for `datasets.load_dataset`, with a card."""
    from forgetless.curator.store import Store
    from forgetless.train.export import export as write

    report = write(Store.open(store), to, form, condition, snapshot)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    click.echo(f"{report.records:,} records, {report.target_tokens:,} target tokens → {report.path}")
    if report.left_out:
        click.echo(f"{report.left_out:,} left out: {form} cannot carry them (see README.md there)", err=True)
