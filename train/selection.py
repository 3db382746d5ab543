"""The records of an export, and what a scorer's figures make of their tokens."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import Kl, Stm
from forgetless.train.example import Example
from forgetless.train.reader import read_examples
from forgetless.train.scores import Scores
from forgetless.train.weighting import weighted_examples


@dataclass(frozen=True)
class Selection:
    """Records that a query gives at a snapshot, with tokens masked out where asked for."""

    store: Store
    sql: str
    """Gives whole records, in id order."""
    snapshot: int | None
    mask: Stm | None = None
    scorer: str | None = None
    """As `Stored.scorer`; the only model that scored them if not given."""

    def query(self, sql: str) -> pa.Table:
        """Rows of a query at the snapshot."""
        return self.store.query(sql, self.snapshot)

    @cached_property
    def examples(self) -> list[Example]:
        """The records, weight 0 where a token is masked out.

        Raises:
            UsageError: a record without the scores that the mask needs, or scores of several models.
        """
        examples = read_examples(self.store, self.sql, self.snapshot)
        if self.mask is None:
            return examples
        mask = self.mask.model_copy(update={"scorer": self.scorer})
        return weighted_examples(self._scores.attached(mask, examples), mask, self._end_ids)

    @property
    def masked(self) -> int:
        """Target tokens of weight 0."""
        return sum(int((e.is_target & (e.weights == 0)).sum()) for e in self.examples) if self.mask else 0

    @property
    def with_top_k(self) -> list[Example]:
        """The examples with the scorer's `topk_ids` and `topk_logprobs`.

        Raises:
            UsageError: a record without them, or scores of several models.
        """
        return self._scores.attached(Kl(scorer=self.scorer), self.examples)

    @cached_property
    def _scores(self) -> Scores:
        if self.scorer:
            return Scores(self.store, self.snapshot, self.scorer)
        rows = self.query(
            f"SELECT DISTINCT model FROM token_stats SEMI JOIN ({self.sql}) USING (id)"
            " WHERE rejection IS NULL ORDER BY model"
        )
        models = rows["model"].to_pylist()
        if len(models) > 1:
            raise UsageError(
                f"{len(models)} models have scored these records: {', '.join(models)}",
                "name one with --scorer",
            )
        return Scores(self.store, self.snapshot, *(models or [""]))

    @cached_property
    def _end_ids(self) -> list[int]:
        """No model is at hand to say what ends a turn: whatever special token a target ends with."""
        ids = self.query(
            "SELECT DISTINCT token_id FROM vocab WHERE special"
            f" AND tokenizer IN (SELECT tokenizer FROM ({self.sql}))"
        )
        return ids["token_id"].to_pylist()
