"""A small store with every status, two kinds, scores of two scorers, runs and evals."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from given import COMMAND
from stored import IDS

from forgetless.curator.models import load_tokenizer, tokenizer_fingerprint
from forgetless.curator.store import Store
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.schemas.outcome import Outcome, Rejection, Span
from forgetless.schemas.request import Message

DEMO = Path(__file__).parents[2] / "pipelines" / "demo" / "model"


@pytest.fixture
def tokenizer() -> Any:
    """The demo model's."""
    return load_tokenizer(DEMO)


@pytest.fixture
def folder(tokenizer: Any, tmp_path: Path) -> Path:
    """Folder of the store, with a space and a quote in its name."""
    path = tmp_path / "a store's"
    make(path, tokenizer)
    return path


def make(path: Path, tokenizer: Any) -> Store:
    """Write the store."""
    store = Store.create(path)
    vocabulary = tokenizer_fingerprint(tokenizer)
    ensure_vocab(store, tokenizer, vocabulary)
    chat = [Message(role="user", content="reverse the word cat"), Message(role="assistant", content="tac")]
    refused = Rejection(step="repetition", reason="4-grams repeat", score=0.8, threshold=0.5)
    story = row("story", tokenizer, "A fox [ran].\nThe ☃ fox sleeps.\n", kind="bos_replay")
    talk = row("chat", tokenizer, "reverse the word cat", "tac", messages=chat, task="reverse", seed=5)
    rows = [
        story,
        talk,
        row("unscored", tokenizer, "a fox", "runs", sampled=True),
        row("imported", tokenizer, "a hen", "eats", kind="ground_truth", ids_from="tokenizer"),
        row("rejected", tokenizer, "so", "so so so", status="rejected", rejection=refused),
    ]
    store.append("outcomes", rows)
    store.append("token_stats", [scores(story, "first", 1), scores(talk, "first", 1)])
    store.append("token_stats", [scores(story, "second", 2)])
    run = {"run_id": "run", "verb": "build", "recipe": "{}", "steps": "{}", "versions": "{}", "summary": "{}"}
    store.append("runs", [run | {"event": "started", "created": datetime(2030, 1, 1, tzinfo=UTC)}])
    store.append("runs", [run | {"event": "done", "created": datetime(2030, 1, 2, tzinfo=UTC)}])
    store.append("evals", [{"name": "tuned", "task": "reverse", "metric": "accuracy", "value": 0.5}])
    store.take_snapshot("run")
    return store


def row(
    name: str, tokenizer: Any, prompt: str, answer: str = "", *, sampled: bool = False, **given: Any
) -> Outcome:
    """A row of `prompt` and `answer` in tokens; without an answer all of the prompt is target."""
    before, after = ids(tokenizer, prompt), ids(tokenizer, answer)
    token_ids = [tokenizer.bos_token_id, *before, *after]
    start = 1 + len(before) if answer else 1
    drawn = [None] * start + [-0.25 * (i + 1) for i in range(len(token_ids) - start)]
    settings: dict[str, Any] = {"kind": "magpie", "status": "accepted", "ids_from": "engine"} | given
    return Outcome(
        id=IDS[name], plan_id=IDS[name], run_id="run", step=name, digest="d" * 32, pipeline=settings["kind"],
        stage="answer", ordinal=0, text=prompt + answer, token_ids=token_ids,
        target_spans=[Span(start=start, end=len(token_ids))], tokenizer=tokenizer_fingerprint(tokenizer),
        sampled_logprobs=drawn if sampled else None, temperature=1.0, max_tokens=64,
        metadata=json.dumps({"name": name}), **settings,
    )  # fmt: skip


def ids(tokenizer: Any, text: str) -> list[int]:
    encoded: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(encoded)


def scores(outcome: Outcome, scorer: str, day: int) -> dict[str, Any]:
    """Log-probs 0, -0.5, -1 … -4, and again, from position 1 on."""
    size = len(outcome.token_ids)
    logprob = [None, *(-((i - 1) % 9) / 2 for i in range(1, size))]
    return {
        "id": outcome.id, "scorer": scorer, "model": "m" * 32, "tokenizer": outcome.tokenizer,
        "dtype": "float32", "engine": "transformers", "run_id": "run", "logprob": logprob,
        "entropy": [None] + [1.0] * (size - 1), "rank": [None] + [1] * (size - 1),
        "created": datetime(2030, 1, day, tzinfo=UTC),
    }  # fmt: skip


def forgetless(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, no terminal, 80 columns."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=os.environ | {"COLUMNS": "80"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`cli("sql", folder, "SELECT 1")`."""
    return forgetless
