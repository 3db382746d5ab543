"""`forgetless bench train`: the trainer beside TRL's SFTTrainer, and what a KL to the base costs."""

from collections.abc import Callable
from dataclasses import dataclass

from forgetless.benchmarks.sides import Comparison, Round, in_rounds

PEERS = ("trl", "kl", "live-kl")


@dataclass(frozen=True)
class TrainComparison(Comparison):
    """The same rows through all sides."""

    steps: int
    dtype: str


def compare_training(
    steps: int = 4,
    dtype: str = "float32",
    rounds: int = 5,
    peers: tuple[str, ...] = PEERS,
    told: Callable[[Round], None] = lambda _: None,
) -> TrainComparison:
    """Tokens per second of `steps` optimiser steps after one that is not counted: 8 rows of 512 random tokens, a fifth
    of them prompts, through a random Llama of 20M parameters with 24,576 ids.

    Raises:
        EngineError: a side failed.
    """
    done = in_rounds("forgetless.benchmarks.train_side", [str(steps), dtype], peers, rounds, told)
    return TrainComparison(done, steps, dtype)
