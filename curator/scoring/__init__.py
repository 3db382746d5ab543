"""Per-token log-probs of the base model."""

from forgetless.curator.scoring.scorer import Scorer, TokenStats

__all__ = ["Scorer", "TokenStats"]
