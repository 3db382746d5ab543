"""`forgetless train` from a recipe file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from forgetless.cli.train import train
from forgetless.curator.store import Store
from forgetless.schemas.errors import RecipeError, UsageError


@pytest.fixture
def recipe(make_store: Callable[[], Store], tiny: Path, tmp_path: Path) -> Path:
    make_store()
    (tmp_path / "task.jsonl").write_text('{"prompt": "what is 1 and 1?", "reference": "it is 2"}\n')
    file = tmp_path / "recipe.yaml"
    file.write_text(f"""
store: store
model: {{path: {tiny}}}
train:
  output: out
  steps: 2
  held_out: {{count: 8}}
  tasks:
  - {{name: doubling, path: task.jsonl, role: target, max_tokens: 8}}
""")
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_dry_run_prints_the_plan_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    result = run(recipe, "--dry-run", "--json", "--set", "train.replay.share=0.5")
    plan = json.loads(result.stdout)
    assert (plan["targets"], plan["steps"]) == (40, 2)
    assert [(s["name"], s["records"], s["share"]) for s in plan["replay"]] == [("replay", 20, 0.5)]
    assert "40 records" in run(recipe, "--dry-run").stdout
    assert not (tmp_path / "out").exists()


def test_the_table_and_the_json_tell_the_same(recipe: Path) -> None:
    shown = run(recipe)
    report = json.loads(run(recipe, "--json").stdout)
    assert [change["task"] for change in report["changes"]] == ["doubling", "held-out text"]
    held_out = report["changes"][1]
    for figure in (held_out["before"], held_out["after"]):
        assert f"{figure:.3f}" in shown.stdout
    assert "evaluate before" not in shown.stdout


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("train=null", RecipeError, "has no `train`"),
        ("train.objectives=[{objective: stm, threshold: 2.5, share: 0.2}]", RecipeError, "threshold"),
        ("train.targets=SELECT nothing", UsageError, "SQL"),
        ("train.tasks.doubling.path=gone.jsonl", UsageError, "gone.jsonl"),
        ("train.snapshot=7", UsageError, "no snapshot 7"),
    ],
)
def test_what_cannot_run_is_said_first(
    recipe: Path, tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(recipe, "--set", override)
    assert not (tmp_path / "out").exists()
