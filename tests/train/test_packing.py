"""Packing: derived from the seed alone, and invisible to the model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_records import random_examples

from forgetless.curator.models import load_model
from forgetless.train.example import Example
from forgetless.train.loss import token_nll
from forgetless.train.packing import collate, in_batches, pack, schedule

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories260k"


def nll(model: Any, rows: list[list[Example]]) -> torch.Tensor:
    fields = collate(rows)
    del fields["token_weights"], fields["sources"]
    with torch.no_grad():
        return token_nll(model, **fields)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_separate(tiny_model: Any, attention: str) -> None:
    assert_packed_equals_separate(tiny_model, attention, vocabulary=262)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_separate_on_stories(attention: str) -> None:
    if not STORIES.exists():
        pytest.skip("../shared is absent")
    assert_packed_equals_separate(load_model(STORIES, "float32"), attention, vocabulary=512)


def assert_packed_equals_separate(model: Any, attention: str, vocabulary: int) -> None:
    model.set_attn_implementation(attention)
    examples = random_examples(20, vocabulary)
    rows = [[examples[i] for i in row] for row in pack([len(e) for e in examples], 128, seed=1, epoch=0)]
    assert max(map(len, rows)) > 2
    together = nll(model, rows)
    alone = torch.cat([nll(model, [[example]]) for row in rows for example in row])
    assert (together - alone).abs().max() < 1e-5


def test_every_example_once_in_each_pass_and_rows_fit() -> None:
    lengths = [len(e) for e in random_examples(200, 300)]
    plan = schedule(lengths, max_length=64, rows_per_step=8, seed=3, epochs=2)
    half = len(pack(lengths, 64, 3, 0))
    assert sorted(i for row in plan.rows[:half] for i in row) == list(range(200))
    assert sorted(i for row in plan.rows[half:] for i in row) == list(range(200))
    assert all(sum(lengths[i] for i in row) <= 64 for row in plan.rows)
    assert half * 64 < sum(lengths) * 1.1  # at most a tenth is padding
    assert plan.rows[:half] != plan.rows[half:]


def test_rows_follow_from_the_seed_and_more_steps_keep_the_first() -> None:
    lengths = [len(e) for e in random_examples(50, 300)]
    short = schedule(lengths, 64, 4, seed=3, steps=5)
    long = schedule(lengths, 64, 4, seed=3, steps=50)
    assert len(short.rows) == 20
    assert long.rows[:20] == short.rows
    assert schedule(lengths, 64, 4, seed=4, steps=5).rows != short.rows


@pytest.mark.parametrize(("epochs", "steps"), [(1, 5), (0.5, 3), (2.25, 12), (0.001, 1)])
def test_epochs_without_packing(epochs: float, steps: int) -> None:
    plan = schedule([5] * 20, 64, rows_per_step=4, seed=0, packing=False, epochs=epochs)
    assert plan.steps == steps
    assert {len(row) for row in plan.rows} == {1}


def test_labels_and_weights_stay_within_their_record() -> None:
    first = Example.of("a", "replay", [5, 6, 7], [(1, 3)])
    second = Example.of("b", "replay", [8, 9], [(0, 2)]).weighted(np.array([1, 0]))
    second = replace(second, source=2, stats={"base_logprob": np.array([np.nan, -0.5])})
    first = replace(first, stats={"base_logprob": np.array([np.nan, -1.5, -2.5])})
    fields = {name: tensor.tolist() for name, tensor in collate([[first, second], [first], []]).items()}
    stored = collate([[first, second], []], stats=["base_logprob"])["base_logprob"]
    assert stored.nan_to_num(9).tolist() == [[-1.5, -2.5, 9, -0.5, 9], [9] * 5]
    assert fields == {
        "input_ids": [[5, 6, 7, 8, 9], [5, 6, 7, 0, 0], [0] * 5],
        "position_ids": [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0], [0] * 5],
        "shift_labels": [[6, 7, -100, 9, -100], [6, 7, -100, -100, -100], [-100] * 5],
        "token_weights": [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5],
        "sources": [[0, 0, 0, 2, 2], [0] * 5, [0] * 5],
    }


def test_batches_hold_at_most_their_tokens() -> None:
    examples = random_examples(30, 300)
    batches = list(in_batches(examples, 100))
    assert sorted(e.id for b in batches for e in b) == sorted(e.id for e in examples)
    assert all(max(map(len, batch)) * len(batch) <= 100 for batch in batches)
