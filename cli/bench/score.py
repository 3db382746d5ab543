"""`forgetless bench score`: the scorer beside vLLM, a plain loop, and what the machine could do."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgetless.benchmarks.score import ScoreComparison, ScoreRound

NAMES = {
    "vllm": "vLLM prompt_logprobs=20, flat", "transformers": "plain transformers loop",
    "limit": "matrix products alone",
}  # fmt: skip


@click.command()
@click.option(
    "--records", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="Records."
)
@click.option(
    "--longest", type=click.IntRange(17, 1024), default=1024, show_default=True, metavar="N",
    help="Tokens of the longest; the shortest has 16.",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of all sides.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(list(NAMES)),
    help="Only beside this one; again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(records: int, longest: int, rounds: int, peers: tuple[str, ...], as_json: bool) -> None:
    """Log-prob, entropy, rank and top-20 of every token beside vLLM, a plain loop and the limit.

    The same records through a Llama of 75M parameters with random bfloat16 weights, each side in a process of its
    own, by turns; loading and warming up are left out. The limit is the time of the model's matrix products alone,
    each of them at the number of rows where it is fastest.
    """
    from forgetless.benchmarks.score import PEERS, compare_scoring

    compared = compare_scoring(records, longest, rounds, peers or PEERS, _tell)
    if as_json:
        click.echo(json.dumps(_json(compared), indent=2))
    else:
        _print(compared)


def _tell(done: "ScoreRound") -> None:
    from forgetless.curator.progress import note

    note(
        ", ".join(f"{side} {figures['tokens_per_second']:,.0f} tok/s" for side, figures in done.sides.items())
    )


def _json(compared: "ScoreComparison") -> dict[str, Any]:
    ratios = {
        peer: {"ratio": compared.ratio(peer), "spread": compared.spread(peer)} for peer in compared.peers
    }
    return dataclasses.asdict(compared) | {"peers": ratios, "extra_bytes": compared.extra_bytes}


def _print(compared: "ScoreComparison") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("round", box=None, header_style="bold")
    for side in ("ours", *compared.peers):
        table.add_column(f"{side} tok/s", justify="right")
    table.add_column("load", justify="right")
    for number, r in enumerate(compared.rounds, 1):
        speeds = (f"{figures['tokens_per_second']:,.0f}" for figures in r.sides.values())
        table.add_row(str(number), *speeds, f"{r.load:.1f}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for peer in compared.peers:
        low, high = compared.spread(peer)
        median = compared.ratio(peer)
        said = f"{median:.0%} of" if peer == "limit" else f"{median:.2f} times"
        ends = f"{low:.0%} to {high:.0%}" if peer == "limit" else f"{low:.2f} to {high:.2f}"
        console.print(f"{said} {NAMES[peer]} (median; {ends})", markup=False)
    console.print(
        f"{compared.records:,} records of 16 to {compared.longest:,} tokens; our peak memory is the model's "
        f"{compared.model_bytes / 2**20:,.0f} MiB and {compared.extra_bytes / 2**20:,.0f} MiB more"
    )
