"""Selective Token Masking against a direct count."""

import numpy as np
import pytest

from forgetless.schemas.training import TokenMask
from forgetless.train.example import Example
from forgetless.train.token_mask import mask_examples

END = 2


def made_up() -> tuple[list[Example], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    examples, logprobs = [], []
    for i, size in enumerate(rng.integers(8, 60, size=25)):
        ids = rng.integers(3, 100, size=size).tolist()
        spans = [(2, 5), (6, size)]
        ids[4] = ids[size - 1] = END
        ids[3] = END  # an end token inside a span is a token like any other
        examples.append(Example.of(str(i), "ground_truth", ids, spans))
        logprobs.append(np.array([np.nan, *-rng.exponential(1.0, size=size - 1)]))
        logprobs[-1][[4, size - 1]] = -30.0
    return examples, logprobs


def in_play(example: Example) -> list[int]:
    size = len(example)
    return [t for t in [*range(2, 5), *range(6, size)] if t not in (4, size - 1)]


def test_threshold_drops_what_exceeds_it() -> None:
    examples, logprobs = made_up()
    masked = mask_examples(examples, logprobs, TokenMask(threshold=2.5), [END])
    for before, after, lp in zip(examples, masked, logprobs, strict=True):
        hard = [t for t in in_play(before) if np.exp(-lp[t]) > 2.5]
        assert np.flatnonzero(after.is_target & (after.weights == 0)).tolist() == hard
        assert (after.labels == before.labels).all()
        assert after.weights[[4, -1]].tolist() == [1, 1]


def test_share_drops_the_hardest_of_all_records_together() -> None:
    examples, logprobs = made_up()
    masked = mask_examples(examples, logprobs, TokenMask(share=0.23), [END])
    places = [
        (lp[t], i, t) for i, (e, lp) in enumerate(zip(examples, logprobs, strict=True)) for t in in_play(e)
    ]
    hardest = {(i, t) for _, i, t in sorted(places)[: round(0.23 * len(places))]}
    dropped = {
        (i, int(t))
        for i, example in enumerate(masked)
        for t in np.flatnonzero(example.is_target & (example.weights == 0))
    }
    assert dropped == hardest


@pytest.mark.parametrize("mask", [TokenMask(threshold=1.0001), TokenMask(share=0.999)])
def test_a_last_token_that_ends_no_turn_is_in_play(mask: TokenMask) -> None:
    example = Example.of("a", "ground_truth", [1, 5, 6, 7], [(1, 4)])
    (masked,) = mask_examples([example], [np.array([np.nan, -3.0, -3.0, -3.0])], mask, [END])
    assert masked.weights.sum() == 0
