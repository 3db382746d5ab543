"""What can be measured of a model, and one figure that is wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from forgetless.curator.progress import Progress
from forgetless.schemas.base import digest
from forgetless.train.asking import Answer, Asking


@dataclass(frozen=True)
class Value:
    """A figure, and over how many questions, answers or tokens it was taken."""

    value: float
    count: int


class Subject:
    """The model that is measured, and the base it came from; each is loaded when it is first needed."""

    def __init__(
        self, asking: Asking, load: Callable[[], Any], load_base: Callable[[], Any] | None = None
    ) -> None:
        self.asking, self._load, self._load_base = asking, load, load_base

    @cached_property
    def lm(self) -> Any:
        """A causal language model of transformers, in eval mode."""
        return self._load()

    @cached_property
    def base(self) -> Any | None:
        """The same of the base; None where none is given."""
        return self._load_base() if self._load_base else None


@dataclass(frozen=True, eq=False)
class Probe:
    """Something that is put before a model; one or several figures come of it."""

    prompts: Sequence[list[int]] = ()
    """Token ids of what the model is to answer, the most probable token at a time."""
    max_tokens: int = 1
    """Longest answer."""

    @property
    def read(self) -> int:
        """Passages that the model reads."""
        return 0

    def take(self, subject: Subject, answers: Sequence[Answer], progress: Progress) -> Mapping[str, Value]:
        """The figures by metric, given one answer to each of `prompts`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Measure:
    """One figure that is wanted of a model."""

    name: str
    role: str
    metric: str
    key: str
    """Digest of all that decides the value."""
    probe: Probe
    """Where it comes from; several measures may share one."""


@dataclass(frozen=True)
class Keys:
    """What decides a figure beside what the model is asked."""

    model: str
    """Fingerprint."""
    form: str
    """Digest of how it is asked: start token, template, ends."""
    base: str = ""
    """The base's fingerprint; empty where none is given."""
    engine: tuple[str, ...] = ()
    """What generates, where that is not the model itself in its own type."""

    @classmethod
    def of(cls, model: str, asking: Asking, base: str = "", engine: tuple[str, ...] = ()) -> "Keys":
        """Keys of the model with that fingerprint."""
        form = digest(asking.start, asking.end_ids, asking.tokenizer.chat_template)
        return cls(model, form, base, engine)

    def answers(self, metric: str, *content: str) -> str:
        """Key of a figure taken from answers."""
        return digest(metric, self.model, self.form, *content, *self.engine)

    def reading(self, metric: str, *content: str) -> str:
        """Key of a figure taken from text."""
        return digest(metric, self.model, *content)
