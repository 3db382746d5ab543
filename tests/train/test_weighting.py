"""The weights that the store alone decides over, against direct counts and float64 formulas."""

from dataclasses import replace

import numpy as np
import pytest

from forgetless.schemas.objectives import Dft, EaftStored, Flow, Stm, StmLowBoth
from forgetless.train.example import Example
from forgetless.train.weighting import weighted_examples

END = 2


def made_up() -> list[Example]:
    rng = np.random.default_rng(0)
    examples = []
    for i, size in enumerate(rng.integers(8, 60, size=25)):
        ids = rng.integers(3, 100, size=size).tolist()
        spans = [(2, 5), (6, size)]
        ids[4] = ids[size - 1] = END
        ids[3] = END  # an end token inside a span is a token like any other
        logprob = np.array([np.nan, *-rng.exponential(1.0, size=size - 1)])
        logprob[[4, size - 1]] = -30.0
        top = np.log(rng.dirichlet(np.ones(30), size=size))[:, :24]
        stats = {
            "logprob": logprob,
            "entropy": rng.exponential(1.0, size=size),
            "topk_logprobs": -np.sort(-top),
        }
        examples.append(replace(Example.of(str(i), "ground_truth", ids, spans), stats=stats))
    return examples


def in_play(example: Example) -> list[int]:
    size = len(example)
    return [t for t in [*range(2, 5), *range(6, size)] if t not in (4, size - 1)]


def dropped(before: list[Example], after: list[Example]) -> set[tuple[int, int]]:
    assert all((a.labels == b.labels).all() for a, b in zip(after, before, strict=True))
    return {(i, int(t)) for i, e in enumerate(after) for t in np.flatnonzero(e.is_target & (e.weights == 0))}


def places(examples: list[Example]) -> list[tuple[float, int, int]]:
    return [(e.stats["logprob"][t], i, t) for i, e in enumerate(examples) for t in in_play(e)]


def test_threshold_drops_what_exceeds_it() -> None:
    examples = made_up()
    masked = weighted_examples(examples, Stm(threshold=2.5), [END])
    assert dropped(examples, masked) == {(i, t) for lp, i, t in places(examples) if np.exp(-lp) > 2.5}
    assert all(example.weights[[4, -1]].tolist() == [1, 1] for example in masked)


def test_share_drops_the_hardest_of_all_records_together() -> None:
    examples = made_up()
    ranked = sorted(places(examples))
    count = round(0.23 * len(ranked))
    hardest = weighted_examples(examples, Stm(share=0.23), [END])
    assert dropped(examples, hardest) == {(i, t) for _, i, t in ranked[:count]}
    easiest = weighted_examples(examples, Stm(share=0.23, order="easiest"), [END])
    assert dropped(examples, easiest) == {(i, t) for _, i, t in ranked[-count:]}


def test_random_control_drops_as_many_of_those_in_play_and_follows_the_seed() -> None:
    examples = made_up()
    hard = dropped(examples, weighted_examples(examples, Stm(threshold=2.5), [END]))
    controls = [
        dropped(examples, weighted_examples(examples, Stm(threshold=2.5, order="random"), [END], seed))
        for seed in (0, 0, 1)
    ]
    assert {len(control) for control in controls} == {len(hard)}
    assert controls[0] == controls[1] != controls[2] and controls[0] != hard
    assert controls[0] <= {(i, t) for _, i, t in places(examples)}


@pytest.mark.parametrize("mask", [Stm(threshold=1.0001), Stm(share=0.999)])
def test_a_last_token_that_ends_no_turn_is_in_play(mask: Stm) -> None:
    example = Example.of("a", "ground_truth", [1, 5, 6, 7], [(1, 4)])
    scored = replace(example, stats={"logprob": np.array([np.nan, -3.0, -3.0, -3.0])})
    (masked,) = weighted_examples([scored], mask, [END])
    assert masked.weights.sum() == 0


def test_low_both_drops_what_is_improbable_and_sure_at_once() -> None:
    examples = made_up()
    masked = weighted_examples(examples, StmLowBoth(share=0.4), [END])
    every = [
        (examples[i].stats["logprob"][t], examples[i].stats["entropy"][t], i, t)
        for _, i, t in places(examples)
    ]
    limits = [np.quantile([row[column] for row in every], 0.4) for column in (0, 1)]
    expected = {(i, t) for lp, entropy, i, t in every if lp <= limits[0] and entropy <= limits[1]}
    assert dropped(examples, masked) == expected and expected


@pytest.mark.parametrize("flow", [Flow(), Flow(temperature=0.7), Flow(renormalise=True)])
def test_flow_weighs_examples(flow: Flow) -> None:
    examples = made_up()
    weighted = weighted_examples(examples, flow, [END])
    means = np.array([-e.stats["logprob"][e.is_target].mean() for e in examples])
    expected = np.exp(-means / (flow.temperature or np.median(means)))
    if flow.renormalise:
        tokens = np.array([e.target_tokens for e in examples])
        expected *= tokens.sum() / (expected * tokens).sum()
    for example, weight in zip(weighted, expected, strict=True):
        assert np.allclose(example.weights[example.is_target], weight, rtol=1e-6)
        assert not example.weights[~example.is_target].any()


def test_stored_eaft_is_the_entropy_of_the_top_twenty() -> None:
    examples = made_up()
    for example in weighted_examples(examples, EaftStored(alpha=0.5), [END]):
        p = np.exp(example.stats["topk_logprobs"][:, :20])
        p /= p.sum(1, keepdims=True)
        expected = (-(p * np.log(p)).sum(1) / np.log(20)) ** 0.5
        assert np.allclose(example.weights, np.where(example.is_target, expected, 0), rtol=1e-5)


def test_weights_multiply_and_what_the_model_decides_changes_none() -> None:
    examples = made_up()
    once = weighted_examples(examples, Stm(threshold=2.5), [END])
    both = weighted_examples(once, Flow(), [END])
    alone = weighted_examples(examples, Flow(), [END])
    for product, mask, flow in zip(both, once, alone, strict=True):
        assert np.allclose(product.weights, mask.weights * flow.weights)
    assert weighted_examples(examples, Dft(), [END]) == examples
