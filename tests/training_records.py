"""Rows and examples that the tests of training share."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from forgetless.schemas.outcome import Outcome, Span
from forgetless.train.example import Example


def random_examples(count: int, vocabulary: int, longest: int = 50) -> list[Example]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, longest, size=count)
    return [
        Example.of(str(i), "replay", rng.integers(3, vocabulary, size=n).tolist(), [(1, n)])
        for i, n in enumerate(lengths)
    ]


def weighted_examples() -> list[Example]:
    rng = np.random.default_rng(1)
    return [e.weighted(rng.random(len(e), dtype=np.float32)) for e in random_examples(40, 262)]


def outcome(
    id: str, kind: str, token_ids: Sequence[int], spans: Sequence[tuple[int, int]], tokenizer: str
) -> Outcome:
    """An accepted row."""
    return Outcome(
        id=id, plan_id=id, run_id="run", step=kind, digest=kind, pipeline="test", stage="test", kind=kind,
        status="accepted", ordinal=0, text="", token_ids=list(token_ids), ids_from="tokenizer",
        target_spans=[Span(start=a, end=b) for a, b in spans], tokenizer=tokenizer,
    )  # fmt: skip


def scores(row: Outcome, model: str, tokenizer: str) -> dict[str, Any]:
    """Made-up log-probs, different for nearly every token."""
    size = len(row.token_ids)
    logprob = [None, *(-((7 * i + 13 * len(row.id) + row.token_ids[i]) % 97) / 32 for i in range(1, size))]
    return {
        "id": row.id, "scorer": "s", "model": model, "tokenizer": tokenizer, "dtype": "float32",
        "engine": "transformers", "run_id": "run", "logprob": logprob, "entropy": [None] * size,
        "rank": [None] * size, "target_tokens": size, "created": datetime.now(UTC),
    }  # fmt: skip
