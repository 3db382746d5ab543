"""Scoring as a step: every record that the base model has not scored yet."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forgetless.curator.progress import Progress, note
from forgetless.curator.store import Store
from forgetless.pipelines.material import Material
from forgetless.schemas.base import digest
from forgetless.schemas.steps import Score

if TYPE_CHECKING:
    from forgetless.curator.scoring import TokenStats

CHUNK_TOKENS = 500_000
CHUNK_ROWS = 1000

TOO_LONG, NOT_FINITE, ENGINE = "too_long", "not_finite", "engine"
REJECTIONS = {
    "other_tokenizer": "their ids are another vocabulary's",
    "outside_vocabulary": "a token id is outside the model's vocabulary",
    "no_target": "no target token has anything before it",
    TOO_LONG: "longer than the model's {limit:,} tokens; `long: windows` scores them in parts",
    NOT_FINITE: "a log-prob is not a finite number, as with damaged weights",
    ENGINE: "the engine could not run them, as said above",
}
"""Why a record is not scored, and how that is said."""


@dataclass(frozen=True)
class ScoreRun:
    """One scoring step in one run."""

    step: Score
    material: Material
    store: Store
    run_id: str
    rows: str = "records"
    """View or bracketed query with the columns of `outcomes`: what is to be scored."""
    name: str = ""
    """What progress is shown under; the step's name if not given."""

    def scorer(self) -> str:
        """Fingerprint of what scores: model, vocabulary, type of weights, engine, how much of the top is kept."""
        return digest(
            self.material.model, self.material.vocabulary, self.step.dtype, self.step.engine, self.step.top_k
        )

    def missing(self) -> int:
        """Records that this scorer has neither scored nor rejected."""
        return int(self.store.query(f"SELECT count(*) AS n FROM ({self._missing()})")["n"][0].as_py())

    def counts(self) -> tuple[int, int]:
        """Records that it has scored, and rejected."""
        found = self.store.query(
            f"SELECT count(DISTINCT id) FILTER (rejection IS NULL) AS scored, count(DISTINCT id) AS ended "
            f"FROM token_stats WHERE scorer = '{self.scorer()}'"
        ).to_pylist()[0]
        return found["scored"], found["ended"] - found["scored"]

    def mean_logprobs(self) -> dict[str, float]:
        """Mean log-prob of a target token of every row that is scored, by id."""
        found = self.store.query(
            "SELECT id, sum_logprob / target_tokens AS mean FROM token_stats "
            f"WHERE scorer = '{self.scorer()}' AND target_tokens > 0 AND id IN (SELECT id FROM {self.rows})"
        )
        return dict(zip(found["id"].to_pylist(), found["mean"].to_pylist(), strict=True))

    def run(self) -> None:
        """Score what is missing, committed a chunk at a time; what cannot be scored is rejected, and said."""
        if not self.missing():
            return
        rejected = self._reject()
        if missing := self.missing():
            rejected += self._score(missing)
        for reason, count in rejected.most_common():
            why = REJECTIONS[reason].format(limit=self.material.limit)
            note(f"{self._shown}: {count:,} records are not scored, {reason}: {why}")

    def _reject(self) -> Counter[str]:
        """Rejects what needs no model to be refused."""
        from forgetless.curator.scoring.table import rejected_table

        found = self.store.query(f"SELECT id, refusal FROM ({self._missing()}) WHERE refusal IS NOT NULL")
        refused = list(zip(found["id"].to_pylist(), found["refusal"].to_pylist(), strict=True))
        self.store.append("token_stats", rejected_table(refused, self._common()))
        return Counter(reason for _, reason in refused)

    def _score(self, missing: int) -> Counter[str]:
        """Scores what is left; figures that are no numbers are rejected."""
        from forgetless.curator.scoring.make import scorer_of
        from forgetless.curator.scoring.windows import score_in_windows

        log = self.store.path / "logs" / f"{self.run_id}.log"
        recipe, material = self.material.recipe, self.material
        scorer = scorer_of(self.step, material.folder, recipe.engine, recipe.model.trust_remote_code, log)
        records: dict[str, dict[str, Any]] = {}
        chunk = _Chunk(self.store, self._common())

        def taken() -> Iterator[tuple[str, list[int]]]:
            for record in self._rows():
                records[record["id"]] = record
                yield record["id"], record["token_ids"]

        def scored(pieces: Any) -> Any:
            return scorer.score(pieces, self.step.batch_tokens)

        begun, tokens = time.monotonic(), 0
        with Progress(self._shown, missing) as progress:
            try:
                for record_id, stats in score_in_windows(scored, taken(), material.limit):
                    record = records.pop(record_id)
                    chunk.add(record, stats)
                    tokens += len(record["token_ids"])
                    progress.advance(1, tokens_per_second=tokens / (time.monotonic() - begun))
            finally:
                chunk.commit()
                scorer.close()
        return chunk.refused

    def _rows(self) -> Iterator[dict[str, Any]]:
        sql = f"SELECT id, token_ids, target_spans FROM ({self._missing()}) WHERE refusal IS NULL"
        with self.store.connect() as connection:
            for batch in connection.sql(sql).to_arrow_reader(CHUNK_ROWS):
                yield from batch.to_pylist()

    @property
    def _shown(self) -> str:
        return self.name or self.step.name

    def _common(self) -> dict[str, Any]:
        """Columns that all rows of this run share."""
        return {
            "scorer": self.scorer(), "model": self.material.model, "tokenizer": self.material.vocabulary,
            "dtype": self.step.dtype, "engine": self.step.engine, "run_id": self.run_id,
        }  # fmt: skip

    def _missing(self) -> str:
        """Query of what is not scored, with `refusal`: why it cannot be, or NULL.

        Who is too long to be scored whole can still be scored in windows.
        """
        in_windows = self.step.long == "windows"
        done = f"rejection IS DISTINCT FROM '{TOO_LONG}'" if in_windows else "true"
        too_long = "" if in_windows else f"WHEN len(token_ids) > {self.material.limit} THEN '{TOO_LONG}'"
        return f"""
            SELECT id, token_ids, target_spans, CASE
                WHEN tokenizer IS DISTINCT FROM '{self.material.vocabulary}' THEN 'other_tokenizer'
                WHEN list_max(token_ids) >= {self.material.vocabulary_size} OR list_min(token_ids) < 0
                    THEN 'outside_vocabulary'
                WHEN NOT list_bool_or(list_transform(target_spans, lambda s: s."end" > greatest(s.start, 1)))
                    IS NOT DISTINCT FROM true THEN 'no_target'
                {too_long} END AS refusal
            FROM {self.rows}
            ANTI JOIN (SELECT id FROM token_stats WHERE scorer = '{self.scorer()}' AND {done}) USING (id)"""


class _Chunk:
    """Scored rows until they are committed."""

    def __init__(self, store: Store, common: dict[str, Any]) -> None:
        self._store, self._common = store, common
        self._scored: list[tuple[dict[str, Any], TokenStats]] = []
        self._rejected: list[tuple[str, str]] = []
        self._tokens = 0
        self.refused: Counter[str] = Counter()
        """How many were rejected, by reason."""

    def add(self, record: dict[str, Any], stats: "TokenStats | None") -> None:
        """A record with its statistics; one without, or whose log-probs are no numbers, is rejected."""
        reason = ENGINE if stats is None else None if np.isfinite(stats.logprob).all() else NOT_FINITE
        if reason:
            self._rejected.append((record["id"], reason))
            self.refused[reason] += 1
        elif stats:
            self._scored.append((record, stats))
            self._tokens += len(stats.logprob)
        if self._tokens >= CHUNK_TOKENS or len(self._scored) + len(self._rejected) >= CHUNK_ROWS:
            self.commit()

    def commit(self) -> None:
        """Write what is there."""
        from forgetless.curator.scoring.table import rejected_table, stats_table

        # Taken out first: an interrupt must not commit them a second time.
        scored, rejected = self._scored, self._rejected
        self._scored, self._rejected, self._tokens = [], [], 0
        if scored:
            self._store.append("token_stats", stats_table(scored, self._common))
        if rejected:
            self._store.append("token_stats", rejected_table(rejected, self._common))
