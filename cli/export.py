"""`forgetless export`: records as a dataset that other trainers load."""

from pathlib import Path

import click

FORMATS = {
    "trl": "token rows with labels",
    "prompt-completion": "TRL's chat JSONL where the last answer is the target",
    "messages": "chat JSONL",
    "axolotl": "token rows with labels",
    "axolotl-kd": "the same with the stored top k of a scorer",
    "ms-swift": "chat JSONL with a loss per turn",
    "llama-factory": "chat JSONL with dataset_info.json",
    "parquet": "the records as they are",
}


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(list(FORMATS)),
    help=" ".join(f"{name}: {about}." for name, about in FORMATS.items()),
)
@click.option("--where", "condition", default="true", metavar="SQL", help="Condition on `records`.")
@click.option("--snapshot", type=int, help="Snapshot to read; the newest if not given.")
@click.option(
    "--mask-threshold",
    type=click.FloatRange(min=1, min_open=True),
    metavar="T",
    help="No label for target tokens whose stored perplexity exceeds T (STM; 2.5 in the paper).",
)
@click.option(
    "--mask-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="S",
    help="Or for this share of the target tokens, the hardest.",
)
@click.option("--scorer", help="Whose scores; needed where several models have scored the records.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(
    store: Path,
    to: Path,
    form: str,
    condition: str,
    snapshot: int | None,
    mask_threshold: float | None,
    mask_share: float | None,
    scorer: str | None,
    as_json: bool,
) -> None:
    """Write records of STORE as a dataset for `datasets.load_dataset`, with a card."""
    if mask_threshold and mask_share:
        raise click.UsageError("give either --mask-threshold or --mask-share")
    from forgetless.curator.store import Store
    from forgetless.schemas.objectives import Stm
    from forgetless.train.export import export as write

    masks = mask_threshold or mask_share
    mask = Stm(threshold=mask_threshold, share=mask_share) if masks else None
    report = write(Store.open(store), to, form, condition, snapshot, mask, scorer)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    masked = f" ({report.masked:,} masked out)" if report.masked else ""
    click.echo(f"{report.records:,} records, {report.target_tokens:,} target tokens{masked} → {report.path}")
    if report.left_out:
        click.echo(f"{report.left_out:,} left out: {form} cannot carry them (see README.md there)", err=True)
