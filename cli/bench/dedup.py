"""`forgetless bench dedup`: the near-duplicate filter beside its library."""

import json
from typing import TYPE_CHECKING

import click

from forgetless.cli.bench.rounds import as_json

if TYPE_CHECKING:
    from forgetless.benchmarks.dedup import DedupComparison


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs to run.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def dedup(rounds: int, json_wanted: bool) -> None:
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
    if json_wanted:
        click.echo(json.dumps(as_json(compared), indent=2))
    else:
        _print_dedup(compared)


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
