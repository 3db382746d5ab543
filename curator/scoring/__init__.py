"""Per-token log-probs of the base model."""

from forgetless.curator.scoring.scorer import Scorer
from forgetless.curator.scoring.stats import TokenStats

__all__ = ["Scorer", "TokenStats"]
