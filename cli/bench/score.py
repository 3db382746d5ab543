"""`forgetless bench score`: the scorer beside vLLM, a plain loop, and what the machine could do."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from forgetless.cli.bench.rounds import print_rounds, tell

if TYPE_CHECKING:
    from forgetless.benchmarks.score import ScoreComparison

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

    compared = compare_scoring(records, longest, rounds, peers or PEERS, tell)
    if as_json:
        click.echo(json.dumps(_json(compared), indent=2))
    else:
        _print(compared)


def _json(compared: "ScoreComparison") -> dict[str, Any]:
    ratios = {
        peer: {"ratio": compared.ratio(peer), "spread": compared.spread(peer)} for peer in compared.peers
    }
    return dataclasses.asdict(compared) | {"peers": ratios, "extra_bytes": compared.extra_bytes}


def _print(compared: "ScoreComparison") -> None:
    print_rounds(compared, NAMES)
    click.echo(
        f"{compared.records:,} records of 16 to {compared.longest:,} tokens; our peak memory is the model's "
        f"{compared.model_bytes / 2**20:,.0f} MiB and {compared.extra_bytes / 2**20:,.0f} MiB more"
    )
