"""Objectives that read the store: what scoring wrote is what training gets, and what is missing is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetless.curator.store import Store
from forgetless.pipelines.build import Build
from forgetless.schemas.errors import UsageError
from forgetless.schemas.recipe import Recipe
from forgetless.train.run import prepare, train

STORED: list[dict[str, Any]] = [
    {"objective": "stm", "share": 0.2},
    {"objective": "stm_low_both", "share": 0.4},
    {"objective": "flow"},
    {"objective": "eaft_stored"},
    {"objective": "psft"},
    {"objective": "kl"},
    {"objective": "kl", "over": "replay"},
]


@pytest.fixture
def recipe(make_store: Callable[[], Store], tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes recipes over a store; with top_k it is scored by the model itself."""
    store = make_store()

    def make(top_k: int | None, **settings: Any) -> Recipe:
        document = {"store": store.path, "model": {"path": str(tiny)}}
        if top_k is not None:
            step = {"pipeline": "score", "top_k": top_k}
            Build(Recipe.model_validate(document | {"steps": [step]})).run()
        training = {"output": tmp_path / "out", "steps": 1, "batch_size": 2, "held_out": None, **settings}
        return Recipe.model_validate(document | {"train": training})

    return make


def test_what_scoring_wrote_stands_at_its_token(recipe: Callable[..., Recipe]) -> None:
    objectives = [{"objective": "psft"}, {"objective": "kl"}]
    run = prepare(recipe(20, objectives=objectives, replay={"share": 0.2}))
    assert len(run.data.replay) == 8
    for example in run.data.targets:
        assert np.isnan(example.stats["base_logprob"][0]) and (example.stats["topk_ids"][0] == -1).all()
        ids, top = example.stats["topk_ids"][1:], example.stats["topk_logprobs"][1:]
        assert ids.shape == (len(example) - 1, 20) and (np.diff(top) <= 0).all()
        among = ids == example.token_ids[1:, None]
        assert np.allclose(top[among], example.stats["base_logprob"][1:][among.any(1)], atol=1e-6)
    assert all("topk_ids" in example.stats for example in run.data.replay)


@pytest.mark.parametrize("objective", STORED, ids=lambda o: "-".join(map(str, o.values())))
def test_each_trains_a_step(recipe: Callable[..., Recipe], objective: dict[str, Any]) -> None:
    report = train(recipe(20, objectives=[objective], replay={"share": 0.2}))
    weighs = objective["objective"] in ("stm", "stm_low_both", "flow", "eaft_stored")
    assert (report.plan.mean_weight < 1) == weighs
    (step,) = map(json.loads, (Path(report.checkpoint) / "steps.jsonl").read_text().splitlines())
    assert np.isfinite(list(step.values())).all()


def test_all_together_and_another_scorer_as_reference(recipe: Callable[..., Recipe]) -> None:
    current = [{"objective": name} for name in ("dft", "talr", "eaft")]
    reference = {"objective": "rho1", "scorer": "s"}  # the made-up one
    report = train(recipe(20, objectives=[*STORED[:-1], *current, reference]))
    assert report.plan.steps == 1


@pytest.mark.parametrize("objective", [STORED[3], STORED[5]])
def test_what_is_missing_is_named(recipe: Callable[..., Recipe], objective: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"needs the base model's scores \(topk.*, and 40 of 40") as error:
        prepare(recipe(None, objectives=[objective]))
    assert "--top-k 20" in error.value.hint


def test_too_few_are_stored(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(UsageError, match=r"the 20 most probable.*5 are stored"):
        prepare(recipe(5, objectives=[{"objective": "eaft_stored"}]))
