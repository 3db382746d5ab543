"""A small store to report on: a task answered by people and by the model, with hostile text; replay; refusals."""

from pathlib import Path
from typing import Any

import numpy as np

from forgetless.curator.models import load_tokenizer, tokenizer_fingerprint
from forgetless.curator.scoring.stats import TokenStats
from forgetless.curator.scoring.table import rejected_table, stats_table
from forgetless.curator.store import Store
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.schemas.outcome import Outcome, Rejection, Span
from forgetless.schemas.request import Message

PROMPTS = 12
HOSTILE = "<script>alert(1)</script> \"' &amp; \u202eevil\x1b[31m \u2603"
"""As a prompt and as an answer: markup, quotes, an entity, a direction override, an escape sequence, split bytes."""


def make_store(path: Path, model: Path) -> Store:
    """Ground truth and self-output of `PROMPTS` prompts, three BOS replay rows, rejects, two scorers."""
    store, tokenizer = Store.create(path), load_tokenizer(model)
    ensure_vocab(store, tokenizer, tokenizer_fingerprint(tokenizer))
    rows = [
        row(tokenizer, f"g{i}", "ground_truth", question(i), f"Hmm, I'd say {i}!") for i in range(PROMPTS)
    ]
    rows += [
        row(tokenizer, f"s{i}", "self_output", question(i), f"It is {i}.", parent_id=f"g{i}")
        for i in range(PROMPTS - 2)
    ]
    rows[0] = row(tokenizer, "g0", "ground_truth", HOSTILE, HOSTILE)
    rows += [
        row(tokenizer, f"b{i}", "bos_replay", "", f"A fox ran {i} times.\n", task=None) for i in range(3)
    ]
    fallback = row(tokenizer, "f", "self_output", question(10), "Hmm", parent_id="g10", fallback="reference")
    refused = Rejection(step="numeric", reason="<b>9 is not 10</b>")
    rejected = row(
        tokenizer, "r", "self_output", question(11), "9", parent_id="g11", status="rejected", rejection=refused
    )  # fmt: skip
    too_long = row(tokenizer, "t", "bos_replay", "", "so", task=None)
    store.append("outcomes", [*rows, fallback, rejected, too_long])
    score(store, [*rows, fallback], "older", hard=4.0)
    store.append("token_stats", rejected_table([(too_long.id, "<i>too long</i>")], {"scorer": "newer"}))
    score(store, [*rows, fallback], "newer", hard=2.0)
    return store


def question(i: int) -> str:
    return f"How much is {i} and {i}?"


def row(tokenizer: Any, name: str, kind: Any, prompt: str, answer: str, **given: Any) -> Outcome:
    """A row of `prompt` and `answer`, which is the target."""
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    token_ids = [tokenizer.bos_token_id, *before, *after]
    settings: dict[str, Any] = {"status": "accepted", "task": "sums"} | given
    said = [Message(role="user", content=prompt), Message(role="assistant", content=answer)] if prompt else []
    return Outcome(
        id=name * 8, plan_id=name * 8, run_id="run", step=kind, digest=kind, pipeline=kind, stage="answer",
        ordinal=0, kind=kind, text=prompt + answer, token_ids=token_ids, messages=said,
        target_spans=[Span(start=1 + len(before), end=len(token_ids))], ids_from="engine", model="m" * 32,
        tokenizer=tokenizer_fingerprint(tokenizer),
        **settings | ({"parent_id": given["parent_id"] * 8} if "parent_id" in given else {}),
    )  # fmt: skip


def score(store: Store, rows: list[Outcome], scorer: str, hard: float) -> None:
    """Log-probs that are low for people's words and near zero for the model's own; the same every time."""
    draw = np.random.default_rng(len(scorer))
    found = []
    for outcome in rows:
        size, scale = len(outcome.token_ids) - 1, hard if outcome.kind == "ground_truth" else 0.3
        logprob = -draw.exponential(scale, size).astype(np.float32)
        entropy, rank = np.full(size, 1.5, np.float32), np.arange(1, size + 1, dtype=np.int32)
        found.append((outcome.model_dump(), TokenStats(logprob, entropy, rank, None, None, None)))
    common = {"scorer": scorer, "model": "m" * 32, "dtype": "float32", "engine": "transformers"}
    store.append("token_stats", stats_table(found, common))
