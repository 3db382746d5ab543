"""Measuring while training: it leaves the training alone, and ends it when too much is forgotten."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetless.curator.models import load_model, load_tokenizer
from forgetless.curator.store import Store
from forgetless.schemas.recipe import Recipe
from forgetless.train.answering import greedy
from forgetless.train.asking import Asking
from forgetless.train.run import train


@pytest.fixture
def recipe(make_store: Callable[[], Store], tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes recipes that teach the tiny model to double, and ask for what it used to babble."""
    store = make_store()
    asking = Asking.of(tiny, load_tokenizer(tiny))
    lm = load_model(tiny, "float32")
    prompts = [asking.ids(f"word {i}") for i in range(6)]
    said = [asking.answer(ids).text for ids in greedy(lm, prompts, 6, asking.end_ids)]
    babble = [{"prompt": f"word {i}", "reference": text} for i, text in enumerate(said)]
    (tmp_path / "babble.jsonl").write_text("".join(json.dumps(row) + "\n" for row in babble))

    def make(output: str, **settings: Any) -> Recipe:
        training = {
            "output": tmp_path / output, "learning_rate": 3e-3, "max_length": 64, "batch_size": 4, "steps": 30,
            "replay": None, "held_out": {"count": 8}, "save_every": 4,
            "tasks": [{"name": "babble", "path": tmp_path / "babble.jsonl", "max_tokens": 6}],
        }  # fmt: skip
        document = {"store": store.path, "model": {"path": str(tiny)}, "train": training | settings}
        return Recipe.model_validate(document)

    return make


def steps(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_watched_training_is_the_same(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    lora = {"rank": 4, "dropout": 0.3}  # draws random numbers
    train(recipe("alone", lora=lora))
    report = train(recipe("watched", lora=lora, watch={"every": 10, "questions": 4}))
    assert steps(tmp_path / "alone") == steps(tmp_path / "watched")
    rows = Store.open(tmp_path / "store").query(
        f"SELECT phase, task, count FROM evals WHERE run_id = '{report.run_id}' AND phase LIKE 'step%'"
    )
    counted = {(row["phase"], row["task"]): row["count"] for row in rows.to_pylist()}
    assert {phase for phase, _ in counted} == {"step 0", "step 10", "step 20", "step 30"}
    assert {count for (_, task), count in counted.items() if task == "babble"} == {4}


def test_a_budget_ends_it_and_a_repeated_command_finds_it_done(
    recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = train(recipe("out", watch={"every": 5, "stop_below": 0.97}))
    done = steps(tmp_path / "out")
    assert len(done) < 30 and len(done) % 5 == 0
    assert report.changes[0].before == 1 > report.changes[0].after
    assert f"stopped after step {len(done)}" in capsys.readouterr().err
    assert train(recipe("out", watch={"every": 5, "stop_below": 0.97})) == report


def test_a_generous_budget_ends_nothing(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("out", learning_rate=1e-9, watch={"every": 10, "stop_below": 0.97}))
    assert len(steps(tmp_path / "out")) == 30
