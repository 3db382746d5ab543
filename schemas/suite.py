"""What `forgetless eval` measures of a model."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.model import Engine, RecipePath
from forgetless.schemas.training import Task

BehaviourMetric = Literal["repetition", "cut_off", "refusal", "harm", "coherence", "valid_json"]
"""What is counted in free answers; `forgetless.train.measures.behaviour` says how."""


class Passages(Frozen):
    """Text that the model reads: records of a store, or rows of a file."""

    name: str
    """Name in the table."""
    role: Literal["target", "retained"] = "retained"
    """target: of what is being learned. retained: of what must not be lost."""
    sql: str | None = None
    """Query with an `id` column over the newest snapshot of the store; their target tokens count."""
    path: RecipePath | None = None
    """JSONL, JSON, CSV or Parquet with `text`, or a prompt and its answer (`prompt` and `completion`, `reference` or
    `answer`; `question` and `answer`; `instruction` and `response` or `output`), of which the answer counts."""
    limit: int | None = Field(None, ge=1)
    """Only the first: of records by id, of rows in the file's order."""
    max_tokens: int | None = Field(None, ge=2)
    """Longer ones are cut here; at the model's context if not given."""

    @model_validator(mode="after")
    def _one_source(self) -> "Passages":
        if (self.sql is None) == (self.path is None):
            raise ValueError(f"{self.name!r} needs either `sql` or `path`")
        return self


class Behaviour(Frozen):
    """Prompts that the model answers freely, the most probable token at a time."""

    name: str
    """Name in the table."""
    role: Literal["target", "retained"] = "retained"
    """target: of what is being learned. retained: of what must not be lost."""
    path: RecipePath
    """JSONL, JSON, CSV or Parquet."""
    column: str | None = None
    """Column with the prompt; the first of prompt, instruction, question, text if not given."""
    limit: int | None = Field(None, ge=1)
    """Only the first prompts."""
    max_tokens: int = Field(512, ge=1)
    """Longest answer; a longer one is cut off, and counts as incoherent."""
    metrics: list[BehaviourMetric] = Field(default=["repetition", "cut_off"], min_length=1)
    """What is counted; with harm, coherence too."""
    max_repetition: float = Field(0.5, ge=0, le=1)
    """A coherent answer repeats no more of its 4-grams than this; judged from 32 tokens on."""
    min_logprob: float = Field(-4.0, lt=0)
    """Mean log-prob of a coherent answer's tokens under the base model, in nats; judged where a base is given."""

    @property
    def counted(self) -> list[BehaviourMetric]:
        """The metrics, coherence beside harm: a model that has fallen apart does no harm either."""
        beside: list[BehaviourMetric] = ["coherence"] if "harm" in self.metrics else []
        return list(dict.fromkeys([*self.metrics, *beside]))


class Suite(Frozen):
    """Everything that is measured of a model, before, during and after a fine-tuning."""

    engine: Engine = Engine(kind="transformers")
    """What writes the answers: `transformers` in this process, or `vllm` for large models. Text is always read through
    transformers."""
    tasks: list[Task] = Field(default_factory=list)
    """Questions with known answers: accuracy by a verifier."""
    texts: list[Passages] = Field(default_factory=list)
    """Held-out text: cross entropy in nats per target token."""
    kl: list[Passages] = Field(default_factory=list)
    """Where KL(base ‖ model) is taken, in nats per target token; needs a base model. Inputs of the new task say how far
    it moved where it should, replay how far it moved elsewhere."""
    behaviour: list[Behaviour] = Field(default_factory=list)
    """Prompts answered freely: repetition, cut-offs, refusals, harm, JSON."""

    @field_validator("engine", mode="before")
    @classmethod
    def _by_kind(cls, given: Any) -> Any:
        """`engine: vllm` says enough."""
        return {"kind": given} if isinstance(given, str) else given

    @field_validator("engine")
    @classmethod
    def _settings_of_vllm(cls, engine: Engine) -> Engine:
        if engine.kind == "transformers" and engine != Engine(kind="transformers"):
            raise ValueError(
                "transformers answers in this process, as the model was saved: it has no settings here"
            )
        return engine

    @model_validator(mode="after")
    def _named(self) -> "Suite":
        sections = [getattr(self, section) for section in ("tasks", "texts", "kl", "behaviour")]
        if not any(sections):
            raise ValueError("the suite is empty: add `tasks`, `texts`, `kl` or `behaviour`")
        for items in sections:
            names = [item.name for item in items]
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{twice[0]!r} is the name of two: give each its own")
        return self

    def subset(self, count: int) -> "Suite":
        """The first `count` questions, passages and prompts of each: cheap enough to be asked during training."""
        fewer = {
            section: [
                item.model_copy(update={"limit": min(count, item.limit or count)})
                for item in getattr(self, section)
            ]
            for section in ("tasks", "texts", "kl", "behaviour")
        }
        return self.model_copy(update=fewer)
