"""Stored statistics for the objectives that read them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import EaftStored, Flow, Kl, Objective, Psft, Rho1, Stm, StmLowBoth, Stored
from forgetless.train.example import Example
from forgetless.train.weighting import weighted_examples

COLUMNS: dict[type, dict[str, str]] = {
    Stm: {"logprob": "logprob"},
    StmLowBoth: {"logprob": "logprob", "entropy": "entropy"},
    Flow: {"logprob": "logprob"},
    EaftStored: {"topk_logprobs": "topk_logprobs"},
    Psft: {"base_logprob": "logprob"},
    Rho1: {"reference_logprob": "logprob"},
    Kl: {"topk_ids": "topk_ids", "topk_logprobs": "topk_logprobs"},
}
"""Objective → name among an example's statistics → column of `token_stats`."""
KEPT = (Psft, Rho1, Kl)
"""Objectives that read them while training; the others are done with them once they have set the weights."""


def with_objective(
    objective: Objective,
    targets: Sequence[Example],
    replay: Sequence[Example],
    scores: "Scores",
    end_ids: Collection[int],
    seed: int,
) -> tuple[list[Example], list[Example]]:
    """Targets and replay with what a stored objective makes of them: weights, or statistics for the trainer.

    Raises:
        UsageError: statistics that it needs are not in the store.
    """
    if not isinstance(objective, Stored) or (isinstance(objective, Kl) and objective.live):
        return list(targets), list(replay)
    on = objective.over if isinstance(objective, Kl) else "targets"
    read_targets = scores.attached(objective, targets) if on != "replay" else _without(objective, targets)
    read_replay = scores.attached(objective, replay) if on != "targets" else _without(objective, replay)
    if isinstance(objective, KEPT):
        return read_targets, read_replay
    weighted = weighted_examples(read_targets, objective, end_ids, seed)
    return [
        replace(example, weights=new.weights) for example, new in zip(targets, weighted, strict=True)
    ], list(replay)


def _without(objective: Objective, examples: Sequence[Example]) -> list[Example]:
    """The examples, with nothing where the objective's statistics would stand."""
    names = COLUMNS[type(objective)]
    return [
        replace(e, stats={**e.stats, **{name: _nothing(name, len(e)) for name in names}}) for e in examples
    ]


def _nothing(name: str, size: int) -> np.ndarray:
    if name == "topk_ids":
        return np.full((size, 1), -1)
    return np.full((size, 1) if name == "topk_logprobs" else size, np.nan, dtype=np.float32)


@dataclass(frozen=True)
class Scores:
    """A snapshot's token statistics."""

    store: Store
    snapshot: int | None
    model: str
    """Fingerprint of the base: whose statistics count where no scorer is named."""

    def attached(self, objective: Objective, examples: Sequence[Example]) -> list[Example]:
        """The examples with what the objective reads: float32 or int64 [T, …], NaN or -1 where nothing predicts."""
        names = COLUMNS[type(objective)]
        assert isinstance(objective, Stored)
        rows = self._rows(objective, sorted(set(names.values())), examples)
        return [
            replace(e, stats={**e.stats, **{n: _array(rows[e.id][c], len(e), n) for n, c in names.items()}})
            for e in examples
        ]

    def _rows(
        self, objective: Stored, columns: Sequence[str], examples: Sequence[Example]
    ) -> dict[str, dict[str, Any]]:
        """id → the columns, by the one scorer that covers most of the examples, so that two are never mixed."""
        ids = pa.table({"id": [example.id for example in examples]})
        there = " AND ".join(f"{column} IS NOT NULL AND {column}[-1] IS NOT NULL" for column in columns)
        found = self.store.query(
            f"SELECT id, scorer, {', '.join(columns)} FROM token_stats SEMI JOIN wanted USING (id)"
            f" WHERE rejection IS NULL AND {self._condition(objective)} AND {there}"
            " ORDER BY dtype = 'float32' DESC, scorer",
            self.snapshot,
            wanted=ids,
        )
        if objective.scorer:
            self._check_name(objective, sorted(set(found["scorer"].to_pylist())))
        by_scorer: dict[str, dict[str, Any]] = {}
        for batch in found.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                by_scorer.setdefault(row["scorer"], {})[row["id"]] = row
        best = max(by_scorer.values(), key=len, default={})
        missing = [example.id for example in examples if example.id not in best]
        if missing:
            raise self._missing(objective, columns, missing, len(examples))
        return best

    def _condition(self, objective: Stored) -> str:
        if objective.scorer is None:
            return f"model = '{self.model}'"
        name = "'" + objective.scorer.replace("'", "''") + "'"
        return f"(starts_with(scorer, {name}) OR model = {name})"

    def _missing(self, objective: Any, columns: Sequence[str], missing: list[str], of: int) -> UsageError:
        whose = "the base model's scores" if not objective.scorer else f"the scores of {objective.scorer!r}"
        depth = " --top-k 20" if "topk_ids" in columns or "topk_logprobs" in columns else ""
        return UsageError(
            f"objective `{objective.objective}` needs {whose} ({', '.join(columns)}), and {len(missing):,} of {of:,}"
            f" records have none in this snapshot, {missing[0]!r} first",
            "leave them out of what is selected, or name a newer snapshot"
            if objective.scorer
            else f"run `forgetless score {self.store.path}{depth}`, or name a newer snapshot; what cannot be"
            " scored is in `FROM rejects`: leave it out of what is selected",
        )

    def _check_name(self, objective: Any, found: Sequence[str]) -> None:
        """Exactly one scorer must have the name."""
        if len(found) == 1:
            return
        known = self.store.query("SELECT DISTINCT scorer, model FROM token_stats ORDER BY ALL", self.snapshot)
        listed = ", ".join(f"{row['scorer']} of {row['model']}" for row in known.to_pylist()) or "none"
        what = f"{len(found)} scorers of these records are" if found else "no scorer of these records is"
        raise UsageError(
            f"{what} called {objective.scorer!r}, as objective `{objective.objective}` has it",
            f"in this snapshot: {listed}",
        )


def _array(values: list[Any], size: int, name: str) -> np.ndarray:
    """A column of lists as an array of the first `size` tokens."""
    if not name.startswith("topk"):
        return np.array(values[:size], dtype=np.float32)  # None becomes NaN
    width = max((len(row) for row in values if row), default=1)
    empty: list[float] = [-1 if name == "topk_ids" else np.nan] * width
    kind = np.int64 if name == "topk_ids" else np.float32
    return np.array([row or empty for row in values[:size]], dtype=kind)
