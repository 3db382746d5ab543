"""A whole run: measured before and after, resumed exactly, refused where it is another one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from forgetless.curator.models import load_model, load_tokenizer, model_fingerprint
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.recipe import Recipe
from forgetless.train.asking import Asking
from forgetless.train.evaluate import greedy
from forgetless.train.run import prepare, train

MakeStore = Callable[[], Store]


@pytest.fixture
def recipe(make_store: MakeStore, tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes recipes that teach the tiny model to double numbers."""
    store = make_store()
    questions = [{"prompt": f"what is {i} and {i}?", "reference": f"it is {2 * i}"} for i in range(10)]
    (tmp_path / "doubling.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (tmp_path / "other.jsonl").write_text('{"prompt": "x", "reference": "."}\n')

    def make(output: str = "out", **settings: Any) -> Recipe:
        training = {
            "output": tmp_path / output,
            "learning_rate": 3e-3,
            "max_length": 64,
            "batch_size": 4,
            "replay": {"share": 0.25},
            "held_out": {"count": 8},
            "tasks": [
                {"name": "doubling", "path": tmp_path / "doubling.jsonl", "role": "target", "max_tokens": 16},
                {"name": "other", "path": tmp_path / "other.jsonl", "verifier": "regex", "max_tokens": 4},
            ],
        }
        return Recipe.model_validate(
            {"store": store.path, "model": {"path": str(tiny)}, "train": training | settings}
        )

    return make


def test_a_run_learns_measures_and_is_done_once(
    recipe: Callable[..., Recipe], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = train(recipe(steps=400))
    doubling, other, held_out = report.changes
    assert (doubling.task, doubling.role, doubling.before, doubling.count) == ("doubling", "target", 0, 10)
    assert doubling.after > 0.8
    assert (other.role, held_out.metric) == ("retained", "cross_entropy")
    assert held_out.after < held_out.before
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "run.json", "steps.jsonl"} <= files
    assert not any(name.endswith((".bin", ".pt", ".pth")) or name == "checkpoints" for name in files)
    assert len((tmp_path / "out" / "steps.jsonl").read_text().splitlines()) == 400
    rows = Store.open(tmp_path / "store").query("SELECT phase, task, value, model FROM evals").to_pylist()
    assert {(row["phase"], row["task"]): row["value"] for row in rows} == {
        (phase, change.task): getattr(change, phase)
        for change in report.changes
        for phase in ("before", "after")
    }
    assert {row["model"] for row in rows} == {model_fingerprint(tiny), model_fingerprint(tmp_path / "out")}
    runs = Store.open(tmp_path / "store").query("SELECT verb, state FROM last_runs").to_pylist()
    assert runs == [{"verb": "train", "state": "done"}]
    capsys.readouterr()
    assert train(recipe(steps=400)) == report
    assert "nothing to do" in capsys.readouterr().err
    train(recipe("second", steps=1))
    assert "before: 3 of 3 figures are in the store already" in capsys.readouterr().err


def test_a_changed_recipe_is_refused_and_a_newer_snapshot_is_not(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    report = train(recipe(steps=1))
    with pytest.raises(
        UsageError, match=r"train.learning_rate was 0.003, is 0.1.*choose another `train.output`"
    ):
        train(recipe(steps=1, learning_rate=0.1))
    Store.open(tmp_path / "store").take_snapshot("later")
    assert train(recipe(steps=1)) == report
    with pytest.raises(UsageError, match=r"snapshot was 1, is 2"):
        train(recipe(steps=1, snapshot=2))


def test_a_foreign_folder_is_left_alone(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="no run of ours"):
        train(recipe())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_plan_writes_nothing(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    plan = prepare(recipe(epochs=2, objectives=[{"objective": "stm", "share": 0.25}])).plan
    assert (plan.snapshot, plan.targets, plan.replay[0].records, plan.held_out) == (1, 40, 10, 8)
    assert plan.replay[0].share == 0.25
    assert plan.masked_share == pytest.approx(0.25, abs=0.005)
    assert plan.steps == -(-plan.rows // 4)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [("{}", "line 1 of .* is no question"), ('{"prompt": "x", "reference": "("}', "no regular expression")],
)
def test_a_broken_task_file_is_found_before_training(
    recipe: Callable[..., Recipe], tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "broken.jsonl").write_text(line + "\n")
    task = {"name": "broken", "path": tmp_path / "broken.jsonl", "verifier": "regex"}
    with pytest.raises(UsageError, match=message):
        train(recipe(tasks=[task]))
    assert not (tmp_path / "out").exists()


def test_adapters_end_in_a_plain_checkpoint(
    recipe: Callable[..., Recipe], tiny: Path, tmp_path: Path
) -> None:
    train(recipe(steps=3, lora={"rank": 4}, tasks=[]))
    base, tuned = load_file(tiny / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert base.keys() == tuned.keys()
    load_model(tmp_path / "out")


def test_padding_does_not_change_answers(tiny: Path) -> None:
    model, asking = load_model(tiny), Asking.of(tiny, load_tokenizer(tiny))
    prompts = [asking.ids(text) for text in ("a", "a longer question", "the longest question of all three")]
    together = greedy(model, prompts, 12, [])
    assert together == [greedy(model, [prompt], 12, [])[0] for prompt in prompts]


def test_a_killed_run_goes_on_exactly(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 60, "save_every": 5, "accumulation": 2, "schedule": "cosine"}
    settings |= {"lora": {"rank": 4, "dropout": 0.2}, "tasks": []}
    train(recipe("whole", **settings))
    kill_in_training(recipe("killed", **settings), tmp_path / "killed")
    train(recipe("killed", **settings))
    assert (tmp_path / "killed" / "steps.jsonl").read_text() == (
        tmp_path / "whole" / "steps.jsonl"
    ).read_text()
    assert model_fingerprint(tmp_path / "killed") == model_fingerprint(tmp_path / "whole")


def kill_in_training(recipe: Recipe, output: Path) -> None:
    """SIGKILL as soon as a second checkpoint is being written."""
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from forgetless.schemas.recipe import Recipe\n"
        "from forgetless.train.run import train\n"
        "train(Recipe.model_validate_json(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, recipe.model_dump_json()]
    child = subprocess.Popen(command, cwd=output.parent, stderr=subprocess.DEVNULL, env=os.environ)
    while child.poll() is None and not list(output.glob("checkpoints/checkpoint-10")):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (output / "run.json").exists()
