"""A hosted teacher that fails now and then: prompts in equal rows out, and nothing of it is lost or told."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from given import recipe_of
from served import Call, Misbehaving, Reply, says

from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build
from forgetless.pipelines.demo import world

PROMPTS, BROKEN_EVERY, FAILS_EVERY = 1000, 50, 20
KEY = "sk-not-to-be-found-anywhere"


def teacher(call: Call) -> Reply:
    """Knows the demo world, wrongly now and then, and fails one call in twenty."""
    if call.number % FAILS_EVERY == FAILS_EVERY - 1:
        return Reply(503, {"error": {"message": f"overloaded, {KEY}"}})
    answer = world.solve(call.body["messages"][-1]["content"])
    return says(f"Let me see: it is {answer if call.number % 7 else 'unknown'}")


def write_task(path: Path) -> Path:
    """A thousand lines, of which one in fifty is broken, one way or another."""
    lines = []
    for number, (question, answer) in enumerate(
        world.questions(world.RETAINED["length"], "train", PROMPTS, Random(0))
    ):
        row: dict[str, Any] = {"prompt": question, "completion": f"Well, {answer}!"}
        broken = number % BROKEN_EVERY == 0
        kinds = [
            "no JSON",
            json.dumps({"prompt": question}),
            json.dumps(row | {"prompt": ""}),
            json.dumps([1]),
        ]
        lines.append(kinds[number // BROKEN_EVERY % 4] if broken else json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    folder = tmp_path_factory.mktemp("endpoint")
    with Misbehaving(teacher) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTED_KEY", KEY)
        engine = {
            "kind": "openai", "base_url": server.url, "model": "wise", "api_key_env": "HOSTED_KEY", "retries": 0,
            "in_flight": 8,
        }  # fmt: skip
        steps = [
            {"pipeline": "import", "name": "human", "path": str(write_task(folder / "task.jsonl"))},
            {
                "pipeline": "teacher",
                "writer": "hosted",
                "verifier": "numeric",
                "sampling": {"max_tokens": 40},
            },
        ]
        recipe = recipe_of(folder / "store", demo_model, steps, writers={"hosted": {"engine": engine}})
        report = Build(recipe).run()
    assert report.engines["hosted"]["requests"] == len(server.calls) == PROMPTS * 98 // 100
    assert report.engines["hosted"]["tokens"] > 0
    return Store.open(folder / "store")


def counts(store: Store, step: str) -> dict[str, int]:
    rows = store.query(
        "SELECT coalesce(rejection.step, status) AS ended, count(*) AS n FROM outcomes "
        f"WHERE step = '{step}' AND status <> 'intermediate' GROUP BY ALL"
    )
    return dict(zip(rows["ended"].to_pylist(), rows["n"].to_pylist(), strict=True))


def test_prompts_in_equal_rows_out_at_every_stage(store: Store) -> None:
    assert counts(store, "human") == {"accepted": 980, "source": 20}
    ended = counts(store, "teacher")
    assert sum(ended.values()) == 980
    assert ended["engine"] == 980 // FAILS_EVERY and ended["numeric"] > 0 and ended["accepted"] > 700
    stages = store.query("SELECT step, stage, sum(rows) AS n FROM survival GROUP BY ALL").to_pylist()
    assert {(row["step"], row["stage"]): row["n"] for row in stages} == {
        ("human", "import"): 1000, ("teacher", "answer"): 980, ("teacher", "choose"): 980,
    }  # fmt: skip
    assert verify(store)[0] == []


def test_texts_without_ids_are_tokenised_again_and_say_so(store: Store) -> None:
    rows = store.query("SELECT * FROM records WHERE step = 'teacher'").to_pylist()
    assert {row["ids_from"] for row in rows} == {"tokenizer"}
    assert all(row["sampled_logprobs"] is None for row in rows)
    for row in rows[:20]:
        answer = row["messages"][-1]["content"]
        assert row["text"].endswith(f"<|assistant|>{answer}<|end|>") and answer.startswith("Let me see")


def test_the_key_is_nowhere(store: Store) -> None:
    for file in store.path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
    assert KEY not in json.dumps(store.query("SELECT * FROM rejects").to_pylist())
