"""`forgetless bench`: how fast it is here."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from forgetless.benchmarks.dedup import DedupComparison
    from forgetless.benchmarks.generate import Comparison, Round
    from forgetless.benchmarks.store import StoreComparison


@click.group()
def bench() -> None:
    """Measure how fast this is on your machine."""


@bench.command()
@click.option("--model", default="75m", show_default=True, metavar="demo|75m|FOLDER", help="What to run.")
@click.option("--records", type=click.IntRange(1), metavar="N", help="Texts to make.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Tokens of each, at most.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs to run.")
@click.option("--in-flight", type=click.IntRange(1), metavar="N", help="Requests in the engine at once.")
@click.option("--dtype", default="auto", show_default=True, help="As in the recipe's `engine`.")
@click.option("--enforce-eager", is_flag=True, help="Without compilation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def generate(
    model: str,
    records: int | None,
    max_tokens: int | None,
    rounds: int,
    in_flight: int | None,
    dtype: str,
    enforce_eager: bool,
    as_json: bool,
) -> None:
    """A build, up to its last commit, beside raw vLLM's `LLM.generate`.

    The same requests with the same settings on both sides, each side in a process of its own, by turns;
    starting and warming up the engine is left out of both.
    """
    from forgetless.benchmarks.generate import compare

    engine = {"dtype": dtype, "enforce_eager": enforce_eager}
    if in_flight:
        engine["in_flight"] = in_flight
    compared = compare(model, records, max_tokens, rounds, engine, _tell)
    if as_json:
        click.echo(json.dumps(_json(compared), indent=2))
    else:
        _print(compared)


@bench.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs to run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def dedup(rounds: int, as_json: bool) -> None:
    """The near-duplicate filter beside its MinHash library alone, on 10,000 texts.

    Both from text to verdict, by turns. A tenth of the texts are changed copies, of which either side should
    find those above the threshold.
    """
    from forgetless.benchmarks.dedup import compare_dedup
    from forgetless.curator.progress import note

    compared = compare_dedup(
        rounds=rounds,
        told=lambda r: note(f"filter {r.filter:.2f} s, library {r.library:.2f} s: {r.ratio:.2f}"),
    )
    if as_json:
        click.echo(json.dumps(_json(compared), indent=2))
    else:
        _print_dedup(compared)


@bench.command()
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


def _tell(done: "Round") -> None:
    from forgetless.curator.progress import note

    note(f"build {_rate(done.build)} tok/s, raw {_rate(done.raw)} tok/s: {done.ratio:.2f}")


def _rate(side: dict[str, float]) -> str:
    return f"{side['tokens_per_second']:,.0f}"


def _json(compared: "Comparison | DedupComparison") -> dict[str, object]:
    import dataclasses

    rounds = [dataclasses.asdict(r) | {"ratio": r.ratio} for r in compared.rounds]
    derived = {"ratio": compared.ratio, "spread": compared.spread}
    return dataclasses.asdict(compared) | {"rounds": rounds} | derived


def _print(compared: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("round", box=None, header_style="bold")
    for title in ("raw tok/s", "build tok/s", "build / raw", "raw tokens", "build tokens", "load"):
        table.add_column(title, justify="right")
    for number, r in enumerate(compared.rounds, 1):
        tokens = (f"{side['tokens']:,}" for side in (r.raw, r.build))
        table.add_row(str(number), _rate(r.raw), _rate(r.build), f"{r.ratio:.2f}", *tokens, f"{r.load:.1f}")
    console = Console(highlight=False)
    console.print(table)
    low, high = compared.spread
    console.print(
        f"{compared.model}, {compared.records:,} records of up to {compared.max_tokens} tokens: "
        f"median {compared.ratio:.2f} of raw vLLM, {low:.2f} to {high:.2f}"
    )


def _print_dedup(compared: "DedupComparison") -> None:
    import statistics

    seconds = [
        statistics.median(side)
        for side in zip(*((r.filter, r.library) for r in compared.rounds), strict=True)
    ]
    low, high = compared.spread
    click.echo(
        f"{compared.texts:,} texts: filter {seconds[0]:.2f} s, library {seconds[1]:.2f} s, "
        f"median {compared.ratio:.2f} times the library's, {low:.2f} to {high:.2f}"
    )
    click.echo(
        f"of {compared.planted:,} copies with a similarity of {compared.threshold} or more the filter found "
        f"{compared.found:,} and the library {compared.library_found:,}; the filter refused "
        f"{compared.others:,} other texts"
    )


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
