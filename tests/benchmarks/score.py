"""`forgetless bench score`: the scorer beside vLLM, a plain loop and the limit of the matrix products."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.benchmarks.random_llama import random_llama
from forgetless.curator.engines.child import environment
from forgetless.curator.models import weight_files
from forgetless.schemas.errors import EngineError

PEERS = ("vllm", "transformers", "limit")


@dataclass(frozen=True)
class ScoreRound:
    """All sides over the same records, one after the other, each a process of its own."""

    sides: dict[str, dict[str, Any]]
    """ours and its peers → tokens_per_second, seconds, cpu_seconds, peak_bytes"""
    load: float
    """Of the machine at the beginning: above 0 others were using it."""

    def ratio(self, peer: str) -> float:
        """Our tokens per second for each of the peer's."""
        return float(self.sides["ours"]["tokens_per_second"] / self.sides[peer]["tokens_per_second"])


@dataclass(frozen=True)
class ScoreComparison:
    """What was compared, and how it came out."""

    records: int
    longest: int
    model_bytes: int
    rounds: list[ScoreRound]

    @property
    def peers(self) -> list[str]:
        """Whom ours was compared with."""
        return [side for side in self.rounds[0].sides if side != "ours"]

    def ratio(self, peer: str) -> float:
        """Median of the rounds."""
        return statistics.median(r.ratio(peer) for r in self.rounds)

    def spread(self, peer: str) -> tuple[float, float]:
        """Lowest and highest of the rounds."""
        ratios = [r.ratio(peer) for r in self.rounds]
        return min(ratios), max(ratios)

    @property
    def extra_bytes(self) -> int:
        """The most memory our process ever held beside the model's weights."""
        return max(int(r.sides["ours"]["peak_bytes"]) for r in self.rounds) - self.model_bytes


def compare_scoring(
    records: int = 200,
    longest: int = 1024,
    rounds: int = 3,
    peers: tuple[str, ...] = PEERS,
    told: Callable[[ScoreRound], None] = lambda _: None,
) -> ScoreComparison:
    """Log-prob, entropy, rank and top-20 of `records` random records under a random Llama of 75M parameters.

    `told` hears of each round as it ends. Which side goes first changes from round to round.

    Raises:
        EngineError: a side failed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    model = random_llama(cache / "forgetless" / "bench" / "random-llama")
    model_bytes = sum(file.stat().st_size for file in weight_files(model))
    done: list[ScoreRound] = []
    with tempfile.TemporaryDirectory(prefix="forgetless-bench-") as work:
        for number in range(rounds):
            order = ["ours", *peers]
            load = os.getloadavg()[0]
            turned = order[number % len(order) :] + order[: number % len(order)]
            sides = {side: _run(side, model, records, longest, Path(work)) for side in turned}
            done.append(ScoreRound({side: sides[side] for side in order}, load))
            told(done[-1])
    return ScoreComparison(records, longest, model_bytes, done)


def _run(side: str, model: Path, records: int, longest: int, work: Path) -> dict[str, Any]:
    """One side in a fresh process."""
    out, log = work / f"{side}.json", work / f"{side}.err"
    given = [side, str(model), str(records), str(longest), str(out)]
    command = [sys.executable, "-P", "-m", "forgetless.benchmarks.score_side", *given]
    with log.open("wb") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream, env=environment(), check=False)
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
        raise EngineError(f"the {side} side failed: {last}", "try fewer --records")
    outcome: dict[str, Any] = json.loads(out.read_text())
    return outcome
