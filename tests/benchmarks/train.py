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
    batch_size: int


def compare_training(
    steps: int = 4,
    dtype: str = "float32",
    batch_size: int = 8,
    rounds: int = 5,
    peers: tuple[str, ...] = PEERS,
    told: Callable[[Round], None] = lambda _: None,
) -> TrainComparison:
    """Tokens per second of `steps` optimiser steps after one that is not counted: `batch_size` rows of 512 random
    tokens, a fifth of them prompts, through a random Llama of 20M parameters with 24,576 ids.

    Raises:
        EngineError: a side failed.
    """
    arguments = [str(steps), dtype, str(batch_size)]
    done = in_rounds("forgetless.benchmarks.train_side", arguments, peers, rounds, told)
    return TrainComparison(done, steps, dtype, batch_size)
