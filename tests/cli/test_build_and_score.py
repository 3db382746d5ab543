"""`build`, `score` and what the README shows, through the command line."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from given import COMMAND

from forgetless.curator.recipes import parse_recipe
from forgetless.curator.store import Store
from forgetless.schemas.suite import Suite

README = (Path(__file__).parents[2] / "README.md").read_text()


def run(*arguments: object) -> str:
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("build")
    (folder / "task.jsonl").write_text('{"prompt": "Say a.", "completion": "The letter is a."}\n')
    data: dict[str, Any] = {
        "store": "store", "model": {"path": str(demo_model)}, "engine": {"kind": "transformers"},
        "steps": [
            {"pipeline": "bos_replay", "count": 12, "sampling": {"max_tokens": 40}},
            {"pipeline": "magpie", "count": 6, "instruction": {"max_tokens": 40}, "answer": {"max_tokens": 40}},
            {"pipeline": "import", "path": "task.jsonl"},
        ],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return folder / "recipe.yaml"


def test_plan_build_plan_score(recipe: Path) -> None:
    plan = json.loads(run("build", recipe, "--dry-run", "--json"))
    assert [(p["name"], p["planned"], p["there"]) for p in plan] == [
        ("bos_replay", 12, 0),
        ("magpie", 6, 0),
        ("import", 1, 0),
    ]
    assert plan[1]["stages"] == ["instruction_1", "answer_1"]
    store = recipe.parent / "store"
    assert not store.exists()
    report = json.loads(run("build", recipe, "--json"))
    assert sum(step["accepted"] + step["rejected"] for step in report["steps"]) == 19
    again = json.loads(run("build", recipe, "--dry-run", "--json"))
    assert [p["there"] for p in again] == [12, 6, 1]
    assert "nothing to do" in run("build", recipe)
    assert "[/x]" in run("build", recipe, "--dry-run", "--set", "steps.import.name='[/x]'")

    run("score", store)  # with the model that the store's build names
    opened = Store.open(store)
    counts = opened.query(
        "SELECT (SELECT count(*) FROM records) AS r, (SELECT count(*) FROM token_stats) AS s"
    )
    assert counts["r"] == counts["s"]
    assert "nothing to do" in run("score", store)


def test_the_readmes_sql_works_as_written(recipe: Path) -> None:
    store = recipe.parent / "store"
    if not store.exists():
        run("build", recipe)
        run("score", store)
    opened = Store.open(store)
    statements = [
        s for block in re.findall(r"```sql\n(.*?)```", README, re.S) for s in block.split(";") if s.strip()
    ]
    assert len(statements) == 6
    for statement in statements:
        assert opened.query(statement).num_rows > 0
    (shown,) = re.findall(r'forgetless sql store "(.*?)"', README)
    assert set(opened.query(shown)["kind"].to_pylist()) == {"bos_replay", "magpie", "ground_truth"}


def test_the_readmes_recipes_are_some() -> None:
    whole, training, suite, more = (yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", README, re.S))
    recipe = parse_recipe(whole, base=Path("/"))
    assert len(recipe.steps) == 4 and recipe.train
    targets = parse_recipe(whole | more, base=Path("/"))  # writers and steps, to be put into the first
    assert len(targets.steps) == 6 and set(targets.writers) == {"teacher", "hosted"}
    mixed = parse_recipe(whole | {"train": whole["train"] | training["train"]}, base=Path("/")).train
    assert mixed and len(mixed.replay) == len(mixed.objectives) == 2
    assert len(Suite.model_validate(suite, context={"base": Path("/")}).kl) == 2


def test_score_as_asked(recipe: Path) -> None:
    store = recipe.parent / "store"
    if not store.exists():
        run("build", recipe)
    how = ["--dtype", "bfloat16", "--top-k", 3, "--devices", 2, "--long", "windows", "--batch-tokens", 64]
    said = run("score", store, *how)
    opened = Store.open(store)
    found = opened.query("SELECT * FROM token_stats WHERE dtype = 'bfloat16'").to_pylist()
    assert len(found) == opened.query("FROM records").num_rows
    assert re.search(rf"score +{len(found)} +0 *\n", said)
    assert {len(row["topk_ids"][1]) for row in found} == {3} and {row["windows"] for row in found} == {1}
