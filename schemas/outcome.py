"""One row per request that ended, whatever became of it: what came in is always what went out."""

from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
from pydantic import Field

from forgetless.schemas.base import Frozen
from forgetless.schemas.request import Message

Kind = Literal[
    "bos_replay", "magpie", "ground_truth", "paraphrase", "self_output", "minimum_change", "teacher",
    "speech", "replay", "imported",
]  # fmt: skip
Status = Literal["accepted", "rejected", "intermediate"]

UNKNOWN_TOKENIZER = "unknown"
"""Stands for the fingerprint where nobody said which vocabulary imported ids belong to."""


class Span(Frozen):
    """A stretch of target tokens, `start` included, `end` not."""

    start: int
    end: int


class Verdict(Frozen):
    """What one verifier said."""

    verifier: str
    passed: bool
    score: float | None = None
    reason: str = ""


class Rejection(Frozen):
    """Why a row is not a record."""

    step: str
    """The filter, verifier or engine that refused it."""
    reason: str
    """In words, with file and line where it came from one."""
    score: float | None = None
    """The measured value."""
    threshold: float | None = None
    """What it was held against."""


class Outcome(Frozen):
    """A request's row. `token_ids` are the truth; `text` and `messages` are for people."""

    id: str
    run_id: str
    step: str
    """The recipe's name for the step."""
    digest: str
    """Of everything that changes the distribution of the text; rows of one digest belong together."""
    pipeline: str
    stage: str
    """The stage that ended the row."""
    kind: Kind
    status: Status
    rejection: Rejection | None = None
    task: str | None = None
    plan_id: str
    """Id that the chain of stages ends under; equal to `id` unless the row is intermediate."""
    previous_id: str | None = None
    """The row of the stage before that this one goes on from; of a chosen answer, the sample."""
    parent_id: str | None = None
    """The ground truth that this row is another answer to."""
    ordinal: int
    """Position in the step's plan."""
    messages: list[Message] = Field(default_factory=list)
    text: str
    """All tokens decoded, markers included."""
    token_ids: list[int]
    target_spans: list[Span]
    """Which tokens are trained on."""
    fallback: str | None = None
    """What stands in where no own answer was right: reference or minimum_change."""
    finish_reason: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    sampled_logprobs: list[float | None] | None = None
    """Of the model that wrote it, aligned with token_ids; null where a token was given, or sampled behind another
    prefix than the record's."""
    verdicts: list[Verdict] = Field(default_factory=list)
    ids_from: Literal["engine", "tokenizer"]
    """Whether the ids were sampled, or come from tokenising a text."""
    tokenizer: str
    """Fingerprint of the vocabulary the ids belong to; of imported ids it may be unknown."""
    model: str | None = None
    """Fingerprint of the model that wrote it."""
    metadata: str = "{}"
    """JSON object of whatever else the source carried."""
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
_VERDICT = pa.struct(
    [("verifier", pa.string()), ("passed", pa.bool_()), ("score", pa.float64()), ("reason", pa.string())]
)
_REJECTION = pa.struct(
    [("step", pa.string()), ("reason", pa.string()), ("score", pa.float64()), ("threshold", pa.float64())]
)

OUTCOMES = pa.schema(
    [
        ("id", pa.string()), ("run_id", pa.string()), ("step", pa.string()), ("digest", pa.string()),
        ("pipeline", pa.string()), ("stage", pa.string()), ("kind", pa.string()), ("status", pa.string()),
        ("rejection", _REJECTION), ("task", pa.string()), ("plan_id", pa.string()),
        ("previous_id", pa.string()), ("parent_id", pa.string()), ("ordinal", pa.int64()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("text", pa.string()), ("token_ids", pa.list_(pa.int32())), ("target_spans", pa.list_(_SPAN)),
        ("fallback", pa.string()),
        ("finish_reason", pa.string()), ("temperature", pa.float64()), ("top_p", pa.float64()),
        ("top_k", pa.int32()), ("max_tokens", pa.int32()), ("seed", pa.int64()),
        ("sampled_logprobs", pa.list_(pa.float32())), ("verdicts", pa.list_(_VERDICT)),
        ("ids_from", pa.string()), ("tokenizer", pa.string()), ("model", pa.string()),
        ("metadata", pa.string()), ("created", pa.timestamp("us", tz="UTC")),
    ]
)  # fmt: skip
"""Arrow layout of the `outcomes` table, the fields of `Outcome` in order."""
