"""`forgetless bench store`: a store beside plain Parquet."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from forgetless.benchmarks.store import StoreComparison


@click.command()
@click.option(
    "--records",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Records to make.",
)
@click.option(
    "--tokens",
    type=click.IntRange(10),
    default=500,
    show_default=True,
    metavar="N",
    help="Tokens of each, on average.",
)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Of all queries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def store(records: int, tokens: int, rounds: int, as_json: bool) -> None:
    """Size and queries of a store beside hand-written DuckDB over the same rows in plain Parquet.

    Made-up records: ids by Zipf's law over 50,000, log-probs spread as Llama-3-8B's on MBPP. Plain are one file of
    lists and one with a row per token, each as pyarrow and as DuckDB write it. All queries by turns; medians.
    """
    from forgetless.benchmarks.store import compare_store
    from forgetless.curator.progress import note

    compared = compare_store(records, tokens, rounds, note)
    if as_json:
        click.echo(json.dumps(_store_json(compared), indent=2))
    else:
        _print_store(compared)


def _store_json(compared: "StoreComparison") -> dict[str, object]:
    import dataclasses

    derived = ("ids_and_logprob", "with_entropy_and_rank", "mean_speedup", "hardest_ratio")
    return dataclasses.asdict(compared) | {name: getattr(compared, name) for name in derived}


def _print_store(compared: "StoreComparison") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{compared.tokens:,} tokens in {compared.records:,} records, load {compared.load:.1f}\n")
    console.print(_sizes(compared))
    for question in compared.seconds:
        console.print(_times(compared, question))
    console.print(
        f"{compared.ids_and_logprob:.2f} bytes/token for ids and log-prob, {compared.with_entropy_and_rank:.2f} "
        f"with entropy and rank; mean perplexity by kind {compared.mean_speedup:.1f} times faster than from the "
        f"fastest lists; hardest twenty in {compared.hardest_ratio:.2f} of the fastest query by hand"
    )


def _sizes(compared: "StoreComparison") -> "Table":
    table = _figures("bytes per token", "")
    for name, size in compared.column_bytes.items():
        table.add_row(name, f"{size:.2f}")
    table.add_row("store, all columns", f"{compared.store_bytes:.2f}", end_section=True)
    for name, size in compared.plain_bytes.items():
        layout, _, writer = name.partition("_")
        table.add_row(f"plain {layout} by {writer}", f"{size:.2f}")
    return table


def _times(compared: "StoreComparison", question: str) -> "Table":
    """Queries of a question, ours first, each beside the fastest by hand."""
    table = _figures(question, "ms", "of the fastest by hand")
    best = compared.median(question, compared.best(question))
    for name in compared.seconds[question]:
        took = compared.median(question, name)
        table.add_row(name, f"{took * 1000:.1f}", f"{took / best:.2f}")
    return table


def _figures(first: str, *others: str) -> "Table":
    from rich.table import Table

    table = Table(first, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in others:
        table.add_column(title, justify="right")
    table.columns[0].min_width = 26
    table.caption = " "
    return table
