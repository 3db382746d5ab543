"""Several tasks in order or each alone, with what earlier ones leave to rehearse."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgetless.cli.train import train
from forgetless.curator.recipes import load_recipe
from forgetless.curator.report.forgetting import average_accuracy, forgetting
from forgetless.curator.store import Store
from forgetless.schemas.errors import RecipeError
from forgetless.train.run import prepare
from forgetless.train.stages import StagesReport, stage_recipes

TASKS = {"low": "id < 'g20'", "high": "id >= 'g20' AND kind = 'ground_truth'"}


@pytest.fixture
def recipe(make_store: Callable[[], Store], tiny: Path, tmp_path: Path) -> Path:
    make_store()
    stages, tasks = [], []
    for name, number in (("low", 1), ("high", 30)):
        stages.append({"name": name, "targets": f"SELECT id FROM records WHERE {TASKS[name]}"})
        question = {"prompt": f"what is {number} and {number}?", "reference": f"it is {2 * number}"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(question) + "\n")
        tasks.append({"name": name, "path": f"{name}.jsonl", "max_tokens": 10})
    (tmp_path / "other.jsonl").write_text('{"prompt": "who?", "reference": "me"}\n')
    tasks.append({"name": "other", "path": "other.jsonl", "max_tokens": 4})
    settings = {
        "output": "out", "steps": 3, "batch_size": 2, "accumulation": 2, "held_out": None, "stages": stages,
        "tasks": tasks, "replay": {"share": 0.25}, "rehearsal": {"share": 0.1},
    }  # fmt: skip
    document = {"store": "store", "model": {"path": str(tiny)}, "train": settings}
    (tmp_path / "recipe.yaml").write_text(json.dumps(document))
    return tmp_path / "recipe.yaml"


def test_stages_go_on_from_each_other_and_rehearse(recipe: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(train, [str(recipe)], catch_exceptions=False)
    again = CliRunner().invoke(train, [str(recipe), "--json"], catch_exceptions=False)
    report = StagesReport.model_validate(
        {k: v for k, v in json.loads(again.stdout).items() if k != "summary"}
    )
    first, second = report.reports
    assert second.base == first.model != first.base
    assert [(s.name, s.records) for s in first.plan.replay] == [("replay", 5)]
    assert [(s.name, s.records) for s in second.plan.replay] == [("replay", 5), ("low", 2)]
    assert report.tasks == ["low", "high", "other"]
    assert [c.role for c in second.changes[:3]] == ["target", "retained", "retained"]
    assert second.changes[0].task == "high"
    summary = json.loads(again.stdout)["summary"]
    assert summary["average accuracy"] == average_accuracy(report.matrix)
    assert summary["forgetting"] == forgetting(report.matrix)
    for word in ("base", "low", "high", "other", "backward transfer", "forgetting"):
        assert word in shown.stdout


def test_each_stage_alone_begins_at_the_base(recipe: Path) -> None:
    settings = load_recipe(recipe, ("train.chained=false", "train.rehearsal=null"))
    one, other = (prepare(alone) for _, alone in stage_recipes(settings))
    assert one.asked["model"] == other.asked["model"]
    shown = CliRunner().invoke(
        train,
        [str(recipe), "--set", "train.chained=false", "--set", "train.rehearsal=null"],
        catch_exceptions=False,
    )
    assert "each from the same base" in shown.stdout and "mean transfer to the others" in shown.stdout


def test_two_processes_do_what_one_does(recipe: Path, tmp_path: Path) -> None:
    CliRunner().invoke(train, [str(recipe), "--set", "train.output=alone"], catch_exceptions=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["--no-python", str(Path(sys.executable).with_name("forgetless"))]
    command += ["train", str(recipe), "--set", "train.output=both", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["taught"] == ["low", "high"]  # printed once
    curves = [
        [json.loads(line) for line in (tmp_path / name / "high" / "steps.jsonl").read_text().splitlines()]
        for name in ("alone", "both")
    ]
    for one, two in zip(*curves, strict=True):
        assert one == pytest.approx(two, rel=1e-3)
    store = Store.open(tmp_path / "store")
    counted = store.query("SELECT count(*) AS n, count(DISTINCT (run_id, phase, key)) AS d FROM evals")
    assert counted["n"][0].as_py() == counted["d"][0].as_py()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stages=[{name: nothing, targets: x}]", "named for another one of `tasks`"),
        ("train.chained=false", "`rehearsal` takes from earlier"),
    ],
)
def test_stages_that_cannot_be(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, (override,))
