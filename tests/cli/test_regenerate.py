"""Training on fresh self-outputs: the rows of each epoch are written by the checkpoint of the one before."""

import json
import subprocess
from pathlib import Path
from random import Random

import pytest
import yaml
from given import COMMAND

from forgetless.curator.models import model_fingerprint
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.demo import world

PROMPTS = 24


def write(folder: Path, model: Path) -> Path:
    asked = world.questions(world.RETAINED["plural"], "train", PROMPTS, Random(0))
    rows = [{"prompt": q, "completion": f"Well, I would say {a}.", "reference": a} for q, a in asked]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sampling = {"temperature": 0.7, "max_tokens": 32}
    steps = [
        {"pipeline": "import", "name": "human", "path": "task.jsonl", "reference": "reference"},
        {"pipeline": "self_output", "name": "own", "samples": 2, "verifier": "exact", "sampling": sampling},
    ]
    train = {
        "output": "tuned", "targets": "SELECT id FROM records WHERE kind = 'self_output'", "replay": None,
        "epochs": 2, "regenerate": ["own"], "learning_rate": 1e-4, "held_out": {"count": 0},
    }  # fmt: skip
    recipe = {
        "store": "store",
        "model": {"path": str(model)},
        "engine": {"kind": "transformers"},
        "steps": steps,
        "train": train,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


def train(recipe: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, "train", str(recipe), *more], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("regenerate")
    done = train(write(folder, demo_model), "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_rows_carry_the_checkpoint_that_wrote_them(
    trained: tuple[Path, list[dict]], demo_model: Path
) -> None:
    folder, reports = trained
    store = Store.open(folder / "store")
    rows = store.query(
        "SELECT digest, model, count(DISTINCT parent_id) AS prompts FROM outcomes WHERE step = 'own' "
        "AND status <> 'intermediate' GROUP BY ALL ORDER BY min(created)"
    ).to_pylist()
    writers = [model_fingerprint(demo_model), model_fingerprint(folder / "tuned" / "epoch-1")]
    assert [row["model"] for row in rows] == writers and writers[0] != writers[1]
    assert [row["prompts"] for row in rows] == [PROMPTS, PROMPTS]
    assert [report["base"] for report in reports] == writers
    assert verify(store)[0] == []


def test_an_epoch_learns_from_its_own_rows_alone(trained: tuple[Path, list[dict]]) -> None:
    folder, reports = trained
    accepted = Store.open(folder / "store").query(
        "SELECT model, count(*) AS n FROM records WHERE kind = 'self_output' GROUP BY model"
    )
    counts = dict(zip(accepted["model"].to_pylist(), accepted["n"].to_pylist(), strict=True))
    assert [report["plan"]["targets"] for report in reports] == [counts[report["base"]] for report in reports]


def test_run_again_it_finds_everything_done(trained: tuple[Path, list[dict]]) -> None:
    folder, _ = trained
    before = Store.open(folder / "store").query("SELECT count(*) AS n FROM outcomes")["n"][0].as_py()
    again = train(folder / "recipe.yaml")
    assert again.returncode == 0 and "engine: starting" not in again.stderr
    assert "epoch 2" in again.stdout
    assert Store.open(folder / "store").query("SELECT count(*) AS n FROM outcomes")["n"][0].as_py() == before


def test_the_dry_run_says_what_comes(trained: tuple[Path, list[dict]]) -> None:
    said = train(trained[0] / "recipe.yaml", "--dry-run")
    assert said.returncode == 0 and "own" in said.stdout and "2 epochs" in said.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.regenerate=[nobody]", "nobody"),
        ("train.epochs=1.5", "whole number"),
        ("train.snapshot=1", "omit `snapshot`"),
        (
            "engine={kind: openai, server: vllm, model: m, base_url: http://127.0.0.1:1/v1}",
            "engine of this machine",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, demo_model: Path, change: str, words: str) -> None:
    refused = train(write(tmp_path, demo_model), "--set", change)
    assert refused.returncode == 2 and words in refused.stderr
