"""`forgetless bench score`: the scorer beside vLLM, a plain loop and the limit of the matrix products."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forgetless.benchmarks.random_llama import random_llama
from forgetless.benchmarks.sides import Comparison, Round, in_rounds
from forgetless.curator.models import weight_files

PEERS = ("vllm", "transformers", "limit")


@dataclass(frozen=True)
class ScoreComparison(Comparison):
    """The same records through all sides."""

    records: int
    longest: int
    model_bytes: int

    @property
    def extra_bytes(self) -> int:
        """The most memory our process ever held beside the model's weights."""
        return self.peak_bytes() - self.model_bytes


def compare_scoring(
    records: int = 200,
    longest: int = 1024,
    rounds: int = 3,
    peers: tuple[str, ...] = PEERS,
    told: Callable[[Round], None] = lambda _: None,
) -> ScoreComparison:
    """Log-prob, entropy, rank and top-20 of `records` random records under a random Llama of 75M parameters.

    Raises:
        EngineError: a side failed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    model = random_llama(cache / "forgetless" / "bench" / "random-llama")
    given = [str(model), str(records), str(longest)]
    done = in_rounds("forgetless.benchmarks.score_side", given, peers, rounds, told)
    model_bytes = sum(file.stat().st_size for file in weight_files(model))
    return ScoreComparison(done, records, longest, model_bytes)
