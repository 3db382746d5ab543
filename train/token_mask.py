"""Selective Token Masking: which target tokens are too hard to be learned from (STM, Lin et al. 2025)."""

from collections.abc import Collection, Sequence

import numpy as np

from forgetless.schemas.training import TokenMask
from forgetless.train.example import Example


def mask_examples(
    examples: Sequence[Example], logprobs: Sequence[np.ndarray], mask: TokenMask, end_ids: Collection[int]
) -> list[Example]:
    """The examples with weight 0 on their hardest target tokens.

    Args:
        examples: what is to be learned.
        logprobs: float [T] for each example, natural log-probs under the base model; NaN at position 0.
        mask: by perplexity threshold, or by share of all tokens in play.
        end_ids: ids that end a turn; as the last token of a target span they are never dropped, since a
            model that does not learn to stop is useless.
    """
    in_play = [tokens_in_play(example, end_ids) for example in examples]
    if mask.threshold is not None:
        limit = -np.log(mask.threshold)
        dropped = [play & (lp < limit) for play, lp in zip(in_play, logprobs, strict=True)]
    else:
        dropped = _hardest(in_play, logprobs, mask.share or 0.0)
    return [example.without(drop) for example, drop in zip(examples, dropped, strict=True)]


def tokens_in_play(example: Example, end_ids: Collection[int]) -> np.ndarray:
    """bool [T]: target tokens that a mask may drop."""
    target = example.is_target
    last_of_span = target & ~np.append(target[1:], False)
    return target & ~(last_of_span & np.isin(example.token_ids, list(end_ids)))


def _hardest(in_play: Sequence[np.ndarray], logprobs: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """The round(share · n) least probable of the n tokens in play; the earlier one where two are equal."""
    play = np.concatenate(in_play)
    candidates = np.flatnonzero(play)
    order = np.argsort(np.concatenate(logprobs)[candidates], kind="stable")
    dropped = np.zeros(len(play), dtype=bool)
    dropped[candidates[order[: round(share * len(candidates))]]] = True
    return np.split(dropped, np.cumsum([len(p) for p in in_play])[:-1])
