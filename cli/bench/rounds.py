"""Comparisons in rounds as data."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgetless.benchmarks.dedup import DedupComparison
    from forgetless.benchmarks.generate import Comparison


def as_json(compared: "Comparison | DedupComparison") -> dict[str, Any]:
    """All figures, and those that follow from them."""
    rounds = [dataclasses.asdict(r) | {"ratio": r.ratio} for r in compared.rounds]
    derived = {"ratio": compared.ratio, "spread": compared.spread}
    return dataclasses.asdict(compared) | {"rounds": rounds} | derived
