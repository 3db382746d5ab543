"""What the store holds of one set: the rows that one step made under one configuration.

Rows without a rejection are asked for by `rejection IS NULL`: pushed into a Parquet scan, DuckDB 2.0.0 takes
`rejection.reason IS NULL` to be true of every row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from forgetless.curator.store import Store
from forgetless.pipelines.draft import Draft

PLANS_AT_ONCE = 4096
"""Plans whose rows are in memory together."""


@dataclass(frozen=True)
class SetRows:
    """The rows of one digest."""

    store: Store
    digest: str

    def ended(self) -> set[str]:
        """Plans that need nothing more."""
        return self._column("plan_id", "status <> 'intermediate'")

    def made(self, stage: str) -> set[str]:
        """Ids of a stage's intermediate rows, of plans that have not ended."""
        return self._column("id", f"status = 'intermediate' AND stage = '{stage}' AND {self._unended}")

    def reached(self, stages: Sequence[str]) -> set[str]:
        """Plans that have an intermediate row of one of the stages."""
        return self._column("plan_id", f"status = 'intermediate' AND stage IN ({_quoted(stages)})")

    def passed(self, stage: str) -> Iterator[Draft]:
        """Drafts that a stage let pass, in plan order."""
        for row in self._rows(f"stage = '{stage}' AND rejection IS NULL"):
            yield Draft.from_row(row)

    def waiting(self, stage: str) -> int:
        """How many drafts a stage let pass of plans that have not ended."""
        sql = (
            f"SELECT count(*) AS n FROM outcomes WHERE digest = '{self.digest}' AND status = 'intermediate' "
            f"AND stage = '{stage}' AND rejection IS NULL AND {self._unended}"
        )
        return int(self.store.query(sql)["n"][0].as_py())

    def groups(self, stages: Sequence[str]) -> Iterator[list[Draft]]:
        """Per plan, what `stages` made of it: the last row of each sample, in the order of the samples."""
        names = _quoted(stages)
        leaves = (
            f"stage IN ({names}) AND id NOT IN (SELECT previous_id FROM outcomes WHERE previous_id IS NOT NULL "
            f"AND digest = '{self.digest}' AND stage IN ({names}))"
        )
        for _, rows in groupby(self._rows(leaves), key=lambda row: row["plan_id"]):
            yield sorted(map(Draft.from_row, rows), key=lambda draft: draft.metadata.get("sample", 0))

    def turns(self, stage: str, tokenizer: Any) -> Iterator[str]:
        """What a stage has let pass so far, as the text that duplicates are told by."""
        for batch in self.store.query(
            f"SELECT messages, token_ids, target_spans FROM outcomes WHERE digest = '{self.digest}' "
            f"AND stage = '{stage}' AND rejection IS NULL"
        ).to_batches(1000):
            for row in batch.to_pylist():
                if row["messages"]:
                    yield row["messages"][-1]["content"]
                else:
                    span = row["target_spans"][-1]
                    ids = row["token_ids"][span["start"] : span["end"]]
                    yield tokenizer.decode(ids, skip_special_tokens=True)

    def texts(self) -> Iterator[str]:
        """The text of every row that was taken, where there are no stages."""
        yield from self._texts(f"digest = '{self.digest}' AND status = 'accepted'")

    def others(self) -> Iterator[str]:
        """The text of every other record in the store."""
        yield from self._texts(f"digest <> '{self.digest}' AND status = 'accepted'")

    @property
    def _unended(self) -> str:
        ended = f"SELECT plan_id FROM outcomes WHERE digest = '{self.digest}' AND status <> 'intermediate'"
        return f"plan_id NOT IN ({ended})"

    def _texts(self, condition: str) -> Iterator[str]:
        found = self.store.query(f"SELECT messages, text FROM outcomes WHERE {condition}")
        for batch in found.to_batches(1000):
            for row in batch.to_pylist():
                yield "\n".join(m["content"] for m in row["messages"] or []) or row["text"]

    def _rows(self, condition: str) -> Iterator[dict[str, Any]]:
        """Intermediate rows in plan order, read a stretch of the plan at a time.

        A plan's place is that of its first row: what a later run planned before it moves the places of later rows.
        """
        where = f"digest = '{self.digest}' AND status = 'intermediate'"
        places = f"(SELECT plan_id, min(ordinal) AS place FROM outcomes WHERE {where} GROUP BY plan_id)"
        last = self.store.query(f"SELECT max(place) AS last FROM {places}")["last"][0].as_py()
        for start in range(0, -1 if last is None else last + 1, PLANS_AT_ONCE):
            stretch = f"place BETWEEN {start} AND {start + PLANS_AT_ONCE - 1}"
            found = self.store.query(
                f"SELECT outcomes.* FROM outcomes JOIN {places} USING (plan_id) "
                f"WHERE {where} AND {condition} AND {stretch} ORDER BY place, plan_id"
            )
            for batch in found.to_batches(1000):
                yield from batch.to_pylist()

    def _column(self, name: str, condition: str) -> set[str]:
        sql = f"SELECT DISTINCT {name} FROM outcomes WHERE digest = '{self.digest}' AND {condition}"
        return set(self.store.query(sql)[name].to_pylist())


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
