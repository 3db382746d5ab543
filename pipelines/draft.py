"""A record on its way through the stages of a pipeline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from forgetless.schemas.outcome import Rejection, Span
from forgetless.schemas.request import Message, Result, Sampling


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
    plan_id: str = ""
    """Given by the step; see `Outcome.plan_id`."""
    parent_id: str | None = None
    rejection: Rejection | None = None
    """Set where it cannot go on."""

    def given(self, ids: list[int]) -> "Draft":
        """With ids that the model did not sample behind it."""
        return replace(self, token_ids=[*self.token_ids, *ids], logprobs=[*self.logprobs, *[None] * len(ids)])

    def sampled(self, ids: list[int], logprobs: Sequence[float | None]) -> "Draft":
        """With ids that the model sampled behind it."""
        return replace(self, token_ids=[*self.token_ids, *ids], logprobs=[*self.logprobs, *logprobs])

    def target(self, start: int) -> "Draft":
        """With everything from `start` on as a target."""
        return replace(self, spans=[*self.spans, Span(start=start, end=len(self.token_ids))])

    def said(self, role: str, content: str) -> "Draft":
        """With one more message."""
        return replace(self, messages=[*self.messages, Message(role=role, content=content)])

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Draft":
        """The draft that a stored intermediate row left."""
        return cls(
            ordinal=row["ordinal"], token_ids=row["token_ids"],
            spans=[Span(**span) for span in row["target_spans"]], logprobs=row["sampled_logprobs"],
            messages=[Message(**message) for message in row["messages"]], task=row["task"],
            metadata=json.loads(row["metadata"]), plan_id=row["plan_id"], parent_id=row["id"],
        )  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """What a stage wants of the engine."""

    prompt_ids: list[int]
    sampling: Sampling
    stop_ids: list[int]
    stop_texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """A result with its end token and its text separated."""

    ids: list[int]
    """Sampled ids without the end of the turn."""
    logprobs: list[float | None]
    """None each where the record's own prefix is not the one they were sampled behind."""
    end_ids: list[int]
    """The end of the turn as sampled; empty where it was cut off."""
    end_logprobs: list[float | None]
    text: str
    finish_reason: str

    @classmethod
    def of(cls, result: Result, ask: Ask, draft: Draft, tokenizer: Any) -> "Answer":
        """Cut the stop token, or the tokens that spell a stop text, off the sampled ids."""
        ids = result.token_ids
        own = ask.prompt_ids == draft.token_ids
        logprobs: list[float | None] = list(result.logprobs) if own else [None] * len(ids)
        end = len(ids)
        if result.finish_reason == "stop" and ids and ids[-1] in ask.stop_ids:
            end -= 1
        elif result.finish_reason == "stop":
            text = tokenizer.decode(ids)
            begins = min((text.find(stop) for stop in ask.stop_texts if stop in text), default=len(text))
            while end and len(tokenizer.decode(ids[:end])) > begins:
                end -= 1
        return cls(
            ids[:end], logprobs[:end], ids[end:], logprobs[end:],
            tokenizer.decode(ids[:end], skip_special_tokens=True), result.finish_reason,
        )  # fmt: skip
