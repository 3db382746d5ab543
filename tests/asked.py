"""A store that has something to say in every view, for tests that ask it in SQL."""

import math
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from forgetless.curator.store import Store
from forgetless.schemas.outcome import Outcome, Rejection, Span, Verdict
from forgetless.schemas.request import Message

SCORERS = ("old", "new")
QUESTIONS = 12


def asked_store(path: Path) -> Store:
    """Ground truth and own answers to twelve questions, drawn and judged, some refused; two scorers; two parts each."""
    rng, store = Random(0), Store.create(path)
    rows = [row for number in range(QUESTIONS) for row in _rows(number, rng)]
    for half in (rows[::2], rows[1::2]):
        store.append("outcomes", half)
    for day, scorer in enumerate(SCORERS, 1):
        store.append("token_stats", [_scores(row, rng, scorer, day) for row in rows if row.target_spans])
    late = {"id": rows[-1].id, "scorer": "later", "rejection": "too long", "created": _day(3)}
    store.append("token_stats", [late])
    pieces = [{"tokenizer": "t", "token_id": i, "piece": f"p{i}", "special": i < 2} for i in range(20)]
    store.append("vocab", pieces)
    run = {"run_id": "run", "verb": "build", "recipe": "{}", "steps": "{}", "versions": "{}", "summary": "{}"}
    store.append("runs", [run | {"event": "started", "created": _day(1)}])
    store.append("runs", [run | {"event": "done", "created": _day(2)}])
    store.append("evals", [{"name": "tuned", "task": "sums", "metric": "accuracy", "value": 0.5}])
    store.take_snapshot("run")
    return store


def _rows(number: int, rng: Random) -> list[Outcome]:
    """A question's ground truth, two samples of which the first is chosen unless refused, and a text of its own."""
    wrong = Rejection(step="exact", reason="another answer", score=math.nan if number % 2 else 0.5)
    refused = wrong if number % 4 == 0 else None
    human = _row(rng, f"g{number:02}", "ground_truth", number)
    first = _row(
        rng, f"a{number:02}", "self_output", number, stage="sample", status="intermediate",
        rejection=refused, parent_id=human.id, metadata='{"sample": 0}',
        verdicts=[Verdict(verifier="exact", passed=not refused)],
    )  # fmt: skip
    other = _row(
        rng, f"b{number:02}", "self_output", number, stage="sample", status="intermediate",
        parent_id=human.id, metadata='{"sample": 1}', sampled_logprobs=[-0.5] * len(first.token_ids),
    )  # fmt: skip
    end = _row(
        rng, f"c{number:02}", "self_output", number, status="rejected" if refused else "accepted",
        rejection=refused, parent_id=human.id, previous_id=first.id,
        fallback="reference" if number % 5 == 0 and not refused else None,
    )  # fmt: skip
    return [human, first, other, end, _row(rng, f"m{number:02}", "magpie", number)]


def _row(rng: Random, id: str, kind: Any, number: int, **given: Any) -> Outcome:
    chat = [Message(role="user", content=f"{number}?"), Message(role="assistant", content=f"{id}!")]
    ids = [0, *(rng.randint(2, 19) for _ in range(rng.randint(3, 9))), 1]
    settings: dict[str, Any] = {"status": "accepted", "stage": "answer"} | given
    return Outcome(
        id=id, plan_id=id, run_id="run", step=kind, digest="d", pipeline=kind, kind=kind, ordinal=number,
        messages=chat, text=f"{number}? {id}!", token_ids=ids, target_spans=[Span(start=2, end=len(ids))],
        ids_from="engine", tokenizer="t", task="sums", created=_day(1), **settings,
    )  # fmt: skip


def _scores(row: Outcome, rng: Random, scorer: str, day: int) -> dict[str, Any]:
    logprob = [None, *(round(-rng.expovariate(0.5), 4) for _ in row.token_ids[1:])]
    known = [value for value in logprob[2:] if value is not None]
    return {
        "id": row.id, "scorer": scorer, "tokenizer": "t", "engine": "transformers", "windows": 1, "lacks": [],
        "logprob": logprob, "entropy": [None] + [0.5] * (len(logprob) - 1),
        "rank": [None] + [1] * (len(logprob) - 1), "target_tokens": len(known), "sum_logprob": sum(known),
        "min_logprob": min(known), "sum_entropy": 0.5 * len(known), "created": _day(day),
        "perplexity": math.exp(-sum(known) / len(known)),
        "hard_tokens": sum(value < -math.log(2.5) for value in known),
    }  # fmt: skip


def _day(day: int) -> datetime:
    return datetime(2030, 1, day, tzinfo=UTC)
