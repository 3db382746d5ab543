"""`forgetless bench train`: the trainer beside TRL's, and what a KL to the base costs."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from forgetless.cli.bench.rounds import print_rounds, tell

if TYPE_CHECKING:
    from forgetless.benchmarks.train import TrainComparison

NAMES = {
    "trl": "TRL's SFTTrainer", "kl": "ours with a KL from the stored top 20",
    "live-kl": "ours with a KL from the live base",
}  # fmt: skip


@click.command()
@click.option("--steps", type=click.IntRange(1), default=4, show_default=True, help="Steps that are timed.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
    help="bfloat16: under autocast.",
)  # fmt: skip
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Rows of 512 tokens to a step."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of all sides.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(list(NAMES)),
    help="Only beside this one; again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(
    steps: int, dtype: str, batch_size: int, rounds: int, peers: tuple[str, ...], as_json: bool
) -> None:
    """Optimiser steps beside TRL's SFTTrainer, and with a KL to the base, stored and live.

    The same rows through a Llama of 20M parameters with 24,576 ids, a fifth of their tokens prompts; each side in a process of its own, by turns; the first step is left out.
    """
    from forgetless.benchmarks.train import PEERS, compare_training

    compared = compare_training(steps, dtype, batch_size, rounds, peers or PEERS, tell)
    if as_json:
        click.echo(json.dumps(_json(compared), indent=2))
    else:
        _print(compared)


def _json(compared: "TrainComparison") -> dict[str, Any]:
    ratios = {
        peer: {"ratio": compared.ratio(peer), "spread": compared.spread(peer)} for peer in compared.peers
    }
    peaks = {side: compared.peak_bytes(side) for side in ("ours", *compared.peers)}
    return dataclasses.asdict(compared) | {"peers": ratios, "peak_bytes": peaks}


def _print(compared: "TrainComparison") -> None:
    print_rounds(compared, NAMES)
    if {"kl", "live-kl"} <= set(compared.peers):
        low, high = compared.spread("live-kl", "kl")
        click.echo(
            f"a step with the stored KL is {compared.ratio('live-kl', 'kl'):.2f} times as fast as with the live one"
            f" (median; {low:.2f} to {high:.2f})"
        )
    peaks = (f"{side} {compared.peak_bytes(side) / 2**20:,.0f}" for side in ("ours", *compared.peers))
    click.echo(f"{compared.dtype}; peak memory in MiB: {', '.join(peaks)}")
