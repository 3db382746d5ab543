"""Scoring as a step: every record that the base model has not scored yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forgetless.curator.progress import Progress, note
from forgetless.curator.store import Store
from forgetless.pipelines.material import Material
from forgetless.schemas.base import digest
from forgetless.schemas.steps import Score

CHUNK_TOKENS = 500_000
CHUNK_ROWS = 1000


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
            self.material.model, self.material.vocabulary, self.step.dtype, "transformers", self.step.top_k
        )

    def missing(self) -> int:
        """Records that are still to be scored."""
        return int(self.store.query(self._sql("count(*) AS n"))["n"][0].as_py())

    def left_out(self) -> int:
        """Records that this model cannot score: ids of another vocabulary, too long, or nothing with a prefix."""
        sql = f"SELECT count(*) AS n FROM {self.rows} WHERE NOT ({self._scorable()})"
        return int(self.store.query(sql)["n"][0].as_py())

    def mean_logprobs(self) -> dict[str, float]:
        """Mean log-prob of a target token of every row that is scored, by id."""
        found = self.store.query(
            "SELECT id, sum_logprob / target_tokens AS mean FROM token_stats "
            f"WHERE scorer = '{self.scorer()}' AND target_tokens > 0 AND id IN (SELECT id FROM {self.rows})"
        )
        return dict(zip(found["id"].to_pylist(), found["mean"].to_pylist(), strict=True))

    def run(self) -> None:
        """Score what is missing, committed a chunk at a time. What cannot be scored is said and left."""
        if left_out := self.left_out():
            note(
                f"{self.name or self.step.name}: {left_out:,} records are left out: ids of another tokenizer, one token, "
                f"or more than the model's {self.material.limit:,}"
            )
        if not self.missing():
            return
        from forgetless.curator.scoring.scorer import Scorer, TokenStats
        from forgetless.curator.scoring.table import stats_table

        trust = self.material.recipe.model.trust_remote_code
        scorer = Scorer(self.material.folder, self.step.dtype, self.step.top_k, trust)
        common = {
            "scorer": self.scorer(), "model": self.material.model, "tokenizer": self.material.vocabulary,
            "dtype": self.step.dtype, "engine": "transformers", "run_id": self.run_id,
        }  # fmt: skip
        records: dict[str, dict[str, Any]] = {}
        chunk: list[tuple[dict[str, Any], TokenStats]] = []
        tokens = 0

        def commit() -> None:
            nonlocal tokens
            rows, chunk[:] = (
                list(chunk),
                [],
            )  # taken out first: an interrupt must not commit them a second time
            tokens = 0
            if rows:
                self.store.append("token_stats", stats_table(rows, common))

        def taken() -> Iterator[tuple[str, list[int]]]:
            for record in self._rows():
                records[record["id"]] = record
                yield record["id"], record["token_ids"]

        with Progress(self.name or self.step.name, self.missing()) as progress:
            try:
                for record_id, stats in scorer.score(taken(), self.step.batch_tokens or 8192):
                    chunk.append((records.pop(record_id), stats))
                    tokens += len(stats.logprob)
                    progress.advance(1)
                    if tokens >= CHUNK_TOKENS or len(chunk) >= CHUNK_ROWS:
                        commit()
            finally:
                commit()
                scorer.close()

    def _rows(self) -> Iterator[dict[str, Any]]:
        table = self.store.query(self._sql("id, token_ids, target_spans"))
        for batch in table.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def _scorable(self) -> str:
        return (
            f"tokenizer = '{self.material.vocabulary}' AND len(token_ids) BETWEEN 2 AND {self.material.limit} "
            f"AND list_max(token_ids) < {self.material.vocabulary_size}"
        )

    def _sql(self, columns: str) -> str:
        return (
            f"SELECT {columns} FROM {self.rows} WHERE {self._scorable()} "
            f"AND id NOT IN (SELECT id FROM token_stats WHERE scorer = '{self.scorer()}')"
        )
