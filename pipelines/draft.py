"""A record on its way through the stages of a pipeline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

from forgetless.schemas.outcome import Rejection, Span, Verdict
from forgetless.schemas.request import Message, Sampling

DRAWN = ("finish_reason", "temperature", "top_p", "top_k", "max_tokens", "seed")


@dataclass(frozen=True)
class Draft:
    """What has become of one planned record so far. Its ids are those it will be trained on."""

    ordinal: int
    """Position in the plan."""
    token_ids: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    """Targets among token_ids."""
    logprobs: list[float | None] = field(default_factory=list)
    """Sampled log-probs, aligned; None where a token was given."""
    messages: list[Message] = field(default_factory=list)
    text: str | None = None
    """Raw text of a record that is no conversation."""
    task: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    plan_id: str = ""
    """Given by the step; see `Outcome.plan_id`."""
    previous_id: str | None = None
    """The stored row that it goes on from."""
    parent_id: str | None = None
    """The ground truth that it is another answer to."""
    fallback: str | None = None
    """See `Outcome.fallback`."""
    ids_from: Literal["engine", "tokenizer"] = "tokenizer"
    model: str | None = None
    """Fingerprint of the model that wrote it."""
    drawn: dict[str, Any] = field(default_factory=dict)
    """How its last turn was sampled, and why that ended: columns of `Outcome`."""
    rejection: Rejection | None = None
    """Set where it cannot go on."""
    ended: bool = False
    """Set where it needs no further stage."""

    def given(self, ids: list[int]) -> "Draft":
        """With ids that the model did not sample behind it."""
        return replace(self, token_ids=[*self.token_ids, *ids], logprobs=[*self.logprobs, *[None] * len(ids)])

    def sampled(self, ids: list[int], logprobs: Sequence[float | None]) -> "Draft":
        """With ids that a model sampled behind it."""
        ids, logprobs = [*self.token_ids, *ids], [*self.logprobs, *logprobs]
        return replace(self, token_ids=ids, logprobs=logprobs, ids_from="engine")

    def target(self, start: int) -> "Draft":
        """With everything from `start` on as a target."""
        return replace(self, spans=[*self.spans, Span(start=start, end=len(self.token_ids))])

    def said(self, role: str, content: str) -> "Draft":
        """With one more message."""
        return replace(self, messages=[*self.messages, Message(role=role, content=content)])

    def judged(self, verdict: Verdict, threshold: float = 1.0) -> "Draft":
        """With one more verdict; where it did not pass, refused by it."""
        draft = replace(self, verdicts=[*self.verdicts, verdict])
        if verdict.passed:
            return draft
        reason = verdict.reason or "not passed"
        return draft.refused(
            Rejection(step=verdict.verifier, reason=reason, score=verdict.score, threshold=threshold)
        )

    def refused(self, rejection: Rejection) -> "Draft":
        """With the reason why it cannot go on; the first one stays."""
        return replace(self, rejection=self.rejection or rejection)

    @property
    def mean_logprob(self) -> float | None:
        """Mean sampled log-prob of the targets; None where one of them has none."""
        values = [value for span in self.spans for value in self.logprobs[span.start : span.end]]
        return None if not values or None in values else fmean(value or 0.0 for value in values)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Draft":
        """The draft that a stored intermediate row left."""
        rejection = row["rejection"]
        return cls(
            ordinal=row["ordinal"], token_ids=row["token_ids"],
            spans=[Span(**span) for span in row["target_spans"]],
            logprobs=row["sampled_logprobs"] or [None] * len(row["token_ids"]),
            messages=[Message(**message) for message in row["messages"]], task=row["task"],
            metadata=json.loads(row["metadata"]), verdicts=[Verdict(**verdict) for verdict in row["verdicts"]],
            plan_id=row["plan_id"], previous_id=row["id"], parent_id=row["parent_id"], fallback=row["fallback"],
            ids_from=row["ids_from"], model=row["model"], drawn={name: row[name] for name in DRAWN},
            rejection=Rejection(**rejection) if rejection and rejection["reason"] is not None else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """What a stage wants of the engine."""

    prompt_ids: list[int]
    sampling: Sampling
    stop_ids: list[int]
    stop_texts: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    """Instead of ids, of a server that tokenises itself."""
    choices: list[str] = field(default_factory=list)
    """The reply is one of these, where there are any."""
    verbatim: bool = False
    """The ids are the record's as they were sampled, whoever wrote them: see `Material.replayer`."""

    def choosing(self, choices: list[str]) -> "Ask":
        """The same, for one of a few replies."""
        return replace(self, choices=choices)


@dataclass(frozen=True)
class Answer:
    """A result with its end token and its text separated, in ids of the base model's vocabulary."""

    ids: list[int]
    """Without the end of the turn."""
    logprobs: list[float | None]
    """None each where the record's own prefix is not the one they were sampled behind."""
    end_ids: list[int]
    """The end of the turn; empty where it was cut off."""
    end_logprobs: list[float | None]
    text: str
    finish_reason: str
    sampled: bool = True
    """Whether the ids are those that were sampled; else they come from tokenising the text again."""

    def behind(self, draft: Draft) -> Draft:
        """The draft with the answer, and what ends it, behind it."""
        ids, logprobs = self.ids + self.end_ids, self.logprobs + self.end_logprobs
        return draft.sampled(ids, logprobs) if self.sampled else draft.given(ids)
