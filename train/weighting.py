"""The objectives that the store alone decides over: weights of target tokens, set once before training."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import EaftStored, Flow, Objective, Stm, StmLowBoth
from forgetless.train.example import Example


def weighted_examples(
    examples: Sequence[Example], objective: Objective, end_ids: Collection[int], seed: int = 0
) -> list[Example]:
    """Targets with the weights of their tokens multiplied as a stored objective says; others change nothing.

    Args:
        examples: with the statistics that the objective reads.
        end_ids: ids that end a turn; as the last token of a target span they are never dropped, since a model that
            does not learn to stop is useless.
        seed: of the random control.
    """
    find = _FACTORS.get(type(objective))
    if find is None:
        return list(examples)
    in_play = [tokens_in_play(example, end_ids) for example in examples]
    factors = find(objective, examples, in_play, seed)
    return [example.weighted(factor) for example, factor in zip(examples, factors, strict=True)]


def tokens_in_play(example: Example, end_ids: Collection[int]) -> np.ndarray:
    """bool [T]: target tokens that a mask may drop."""
    target = example.is_target
    last_of_span = target & ~np.append(target[1:], False)
    return target & ~(last_of_span & np.isin(example.token_ids, list(end_ids)))


def _stm(mask: Stm, examples: Sequence[Example], in_play: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """0 for tokens with exp(nll) > threshold, or for the round(share · n) hardest of all n in play, the earlier one
    where two are equal; else 1."""
    play = np.concatenate(in_play)
    logprobs = np.concatenate([example.stats["logprob"] for example in examples])[play].astype(np.float64)
    count = round((mask.share or 0) * len(logprobs))
    if mask.threshold is not None:
        count = int((logprobs < -math.log(mask.threshold)).sum())
    ranked = {
        "hardest": lambda: np.argsort(logprobs, kind="stable"),
        "easiest": lambda: np.argsort(-logprobs, kind="stable"),
        "random": lambda: np.random.default_rng([seed, 7]).permutation(len(logprobs)),
    }[mask.order]()
    dropped = np.zeros(len(play), dtype=bool)
    dropped[np.flatnonzero(play)[ranked[:count]]] = True
    return [1.0 - part for part in _split(dropped, in_play)]


def _stm_low_both(
    mask: StmLowBoth, examples: Sequence[Example], in_play: list[np.ndarray], _: int
) -> list[np.ndarray]:
    """0 for tokens in the lowest quantile of log-prob and of entropy at once, over all in play."""
    play = np.concatenate(in_play)
    columns = [np.concatenate([e.stats[name] for e in examples]) for name in ("logprob", "entropy")]
    low = [column <= np.quantile(column[play], mask.share) for column in columns]
    return [1.0 - part for part in _split(play & low[0] & low[1], in_play)]


def _flow(flow: Flow, examples: Sequence[Example], _: list[np.ndarray], __: int) -> list[Any]:
    """exp(-mean nll of the example's targets / temperature)."""
    means = np.array([-e.stats["logprob"][e.is_target].mean(dtype=np.float64) for e in examples])
    weights = np.exp(-means / (flow.temperature or max(float(np.median(means)), 1e-6)))
    if flow.renormalise:
        weights /= np.average(weights, weights=[example.target_tokens for example in examples])
    return list(weights)


def _eaft_stored(eaft: EaftStored, examples: Sequence[Example], _: list[np.ndarray], __: int) -> list[Any]:
    """(H / ln k)^α of the stored top k made to sum to 1."""
    factors = []
    for example in examples:
        top_TK = example.stats["topk_logprobs"][:, : eaft.top_k].astype(np.float64)
        if top_TK.shape[1] < eaft.top_k:
            raise UsageError(
                f"`eaft_stored` needs the {eaft.top_k} most probable tokens, and {top_TK.shape[1]} are stored",
                f"run `forgetless score STORE --top-k {eaft.top_k}`, or set the objective's `top_k`",
            )
        top_TK -= np.log(np.exp(top_TK).sum(1, keepdims=True))
        entropy_T = np.maximum(0, -(np.exp(top_TK) * top_TK).sum(1))
        factors.append(np.where(example.is_target, (entropy_T / math.log(eaft.top_k)) ** eaft.alpha, 1.0))
    return factors


_FACTORS: dict[type, Callable[..., list[np.ndarray]]] = {
    Stm: _stm,
    StmLowBoth: _stm_low_both,
    Flow: _flow,
    EaftStored: _eaft_stored,
}


def _split(values: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(part) for part in like])[:-1])
