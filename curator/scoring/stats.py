"""What is known of the tokens of one record under one model."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenStats:
    """Statistics of one record of T tokens. All log-probs are natural, at temperature 1, from fp32.

    Entry 0 belongs to the second token: the first has no prefix and so no statistics.
    """

    logprob: np.ndarray
    """[T-1] float32, of the token that is there; NaN where an imported list has none."""
    entropy: np.ndarray | None
    """[T-1] float32, nats, of the distribution the token was drawn from; None where the scorer gives none."""
    rank: np.ndarray | None
    """[T-1] int32, 1 is the most probable token; ties share the better rank. None where there is none."""
    topk_ids: np.ndarray | None
    """[T-1, K] int32, most probable first."""
    topk_logprobs: np.ndarray | None
    """[T-1, K] float32."""
    tail_mass: np.ndarray | None
    """[T-1] float32, probability of all tokens outside the top k."""
    windows: int = 1
    """Overlapping windows that the record was scored in; with one every token saw all before it."""


Record = tuple[str, list[int]]
"""Id and token ids."""
Scored = tuple[str, TokenStats | None]
"""Id and statistics; None where the engine could not run the record."""
