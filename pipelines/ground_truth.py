"""The ground truth that other answers are made to: prompt, reference answer, and what verifiers go by."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from forgetless.curator.store import Store
from forgetless.pipelines.draft import Draft
from forgetless.pipelines.pipeline import Entry
from forgetless.pipelines.verification import Verification
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.request import Message


@dataclass(frozen=True)
class GroundTruth:
    """One record of a task."""

    prompt_ids: list[int]
    """Everything before the answer, as it is trained on."""
    answer_ids: list[int]
    """The answer, its end included."""
    messages: list[Message]
    """All turns before the answer."""
    answer: str
    reference: str
    """What an answer is held against: the source's own column, else the answer."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> "GroundTruth":
        """From a row of `records`."""
        span, answer = row["target_spans"][-1], row["messages"][-1]["content"]
        return cls(
            row["token_ids"][: span["start"]],
            row["token_ids"][span["start"] : span["end"]],
            [Message(**message) for message in row["messages"][:-1]],
            answer,
            json.loads(row["metadata"]).get("reference", answer),
        )

    @property
    def prompt(self) -> str:
        """The turns before the answer as one text."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{message.role}: {message.content}" for message in self.messages)

    def asked(self, draft: Draft) -> Draft:
        """`draft` with the prompt in it, and nothing else."""
        blank = replace(
            draft,
            token_ids=[],
            logprobs=[],
            spans=[],
            messages=self.messages,
            ids_from="tokenizer",
            model=None,
            drawn={},
        )
        return blank.given(self.prompt_ids)

    def answered(self, draft: Draft) -> Draft:
        """`draft` with the ground truth's own answer instead of what it has."""
        return (
            self.asked(draft)
            .given(self.answer_ids)
            .target(len(self.prompt_ids))
            .said("assistant", self.answer)
        )


@dataclass
class GroundTruths:
    """The records that a query names, and the plan to answer each of them once."""

    sources: str
    limit: int | None
    vocabulary: str | None
    verification: Verification
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __getitem__(self, draft: Draft) -> GroundTruth:
        """What `draft` is another answer to."""
        return GroundTruth.of(self._rows[draft.parent_id or ""])

    def entries(self, store: Store | None) -> Iterator[Entry]:
        """One planned record per ground truth, told by its id.

        Raises:
            UsageError: `sources` is no query that DuckDB can run.
        """
        if store is None:  # nothing is there yet
            return
        limit = f" LIMIT {self.limit}" if self.limit else ""
        found = store.query(
            "SELECT id, task, messages, token_ids, target_spans, tokenizer, metadata FROM records SEMI JOIN "
            f"({self.sources.strip().rstrip(';')}\n) USING (id) ORDER BY step, ordinal, id{limit}"
        )
        self._rows = {row["id"]: row for batch in found.to_batches(1000) for row in batch.to_pylist()}
        for ordinal, row in enumerate(self._rows.values()):
            yield row["id"], partial(self._draft, ordinal, row)

    def _draft(self, ordinal: int, row: dict[str, Any]) -> Draft:
        source = json.loads(row["metadata"]).get("source")
        draft = Draft(
            ordinal, task=row["task"], parent_id=row["id"], metadata={"source": source} if source else {}
        )
        if problem := self._problem(row):
            return replace(draft, text="", rejection=Rejection(step="source", reason=problem))
        truth = self[draft]
        if problem := self.verification.problem(truth.reference):
            return replace(truth.asked(draft), rejection=Rejection(step="reference", reason=problem))
        return truth.asked(draft)

    def _problem(self, row: dict[str, Any]) -> str | None:
        if not row["target_spans"] or [m["role"] for m in row["messages"]][-2:] != ["user", "assistant"]:
            return "it is no prompt with an answer"
        if row["tokenizer"] != self.vocabulary:
            return "its ids are of another vocabulary than the model's: import it again with this model"
        return None
