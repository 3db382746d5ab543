"""Sides that do the same work by turns, each time in a fresh process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.curator.engines.child import environment
from forgetless.schemas.errors import EngineError


@dataclass(frozen=True)
class Round:
    """All sides, one after the other."""

    sides: dict[str, dict[str, Any]]
    """ours and its peers → tokens_per_second, seconds, peak_bytes and what else it has to say"""
    load: float
    """Of the machine at the beginning: above 0 others were using it."""

    def ratio(self, peer: str, of: str = "ours") -> float:
        """Tokens per second of one side for each of the peer's."""
        return float(self.sides[of]["tokens_per_second"] / self.sides[peer]["tokens_per_second"])


@dataclass(frozen=True)
class Comparison:
    """How it came out."""

    rounds: list[Round]

    @property
    def peers(self) -> list[str]:
        """Whom ours was compared with."""
        return [side for side in self.rounds[0].sides if side != "ours"]

    def ratio(self, peer: str, of: str = "ours") -> float:
        """Median of the rounds."""
        return statistics.median(r.ratio(peer, of) for r in self.rounds)

    def spread(self, peer: str, of: str = "ours") -> tuple[float, float]:
        """Lowest and highest of the rounds."""
        ratios = [r.ratio(peer, of) for r in self.rounds]
        return min(ratios), max(ratios)

    def peak_bytes(self, side: str = "ours") -> int:
        """The most memory that a side's process ever held."""
        return max(int(r.sides[side]["peak_bytes"]) for r in self.rounds)


def in_rounds(
    module: str, given: Sequence[str], peers: Sequence[str], rounds: int, told: Callable[[Round], None]
) -> list[Round]:
    """Runs `python -m MODULE SIDE *given OUT` for ours and every peer, so many rounds. Which side goes first changes
    from round to round; `told` hears of each as it ends.

    Raises:
        EngineError: a side failed.
    """
    order = ["ours", *peers]
    done = []
    with tempfile.TemporaryDirectory(prefix="forgetless-bench-") as work:
        for number in range(rounds):
            load = os.getloadavg()[0]
            first = number % len(order)
            sides = {side: _run(module, side, given, Path(work)) for side in order[first:] + order[:first]}
            done.append(Round({side: sides[side] for side in order}, load))
            told(done[-1])
    return done


def _run(module: str, side: str, given: Sequence[str], work: Path) -> dict[str, Any]:
    out, log = work / f"{side}.json", work / f"{side}.err"
    command = [sys.executable, "-P", "-m", module, side, *given, str(out)]
    with log.open("wb") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream, env=environment(), check=False)
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
        raise EngineError(f"the {side} side failed: {last}", "ask for less work")
    outcome: dict[str, Any] = json.loads(out.read_text())
    return outcome


def peak_bytes() -> int:
    """The most memory this process ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
