"""What a way of making data is: a configuration, the drafts it begins with, and a list of stages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from forgetless.curator.chat.format import ChatFormat
from forgetless.curator.models import (
    load_tokenizer,
    model_fingerprint,
    resolve_model,
    stop_ids,
    tokenizer_fingerprint,
)
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.schemas.base import digest
from forgetless.schemas.outcome import Kind
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.steps import Filters

Entry = tuple[str, Callable[[], Draft]]
"""What tells a planned record from the others of its step (a position, or a source's text), and what makes it:
most of a plan is there already when it is read again, and needs no making."""


class Material:
    """The recipe's model, as far as pipelines need it without running it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.folder: Path = resolve_model(recipe.model)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with the recipe's chat template if it names one."""
        return load_tokenizer(
            self.folder, self.recipe.model.chat_template, self.recipe.model.trust_remote_code
        )

    @cached_property
    def model(self) -> str:
        """Fingerprint of the weights."""
        return model_fingerprint(self.folder)

    @cached_property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer."""
        return tokenizer_fingerprint(self.tokenizer)

    @cached_property
    def chat(self) -> ChatFormat:
        """The chat template, cut. A declared start token is for raw text: no chat server puts it there."""
        return ChatFormat.of(self.tokenizer)

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        trust = self.recipe.model.trust_remote_code
        return AutoConfig.from_pretrained(self.folder, trust_remote_code=trust).get_text_config()

    @property
    def limit(self) -> int:
        """Longest text the model takes, in tokens."""
        return int(getattr(self._config, "max_position_embeddings", None) or 1 << 30)

    @property
    def vocabulary_size(self) -> int:
        """Ids the model knows, from 0."""
        return int(self._config.vocab_size)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end a text."""
        return stop_ids(self.folder, self.tokenizer)

    def writer(self) -> dict[str, Any]:
        """What every generated row depends on, for a step's configuration."""
        engine = self.recipe.engine
        return {
            "model": self.model,
            "vocabulary": self.vocabulary,
            "engine": {"kind": engine.kind, "dtype": engine.dtype, "max_model_len": engine.max_model_len},
        }

    def template(self) -> str:
        """Digest of the chat template's text."""
        return digest(self.tokenizer.chat_template)


class Stage(Protocol):
    """One request per draft."""

    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def finished(self) -> bool:
        """Whether a turn must have ended by itself, where the recipe leaves it open."""
        ...

    @property
    def distinct(self) -> bool:
        """Whether the same turn twice in a step is a duplicate."""
        ...

    def ask(self, draft: Draft) -> Ask:
        """What to have continued."""
        ...

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        """The draft with the answer in it."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """A step of a recipe, ready to run."""

    kind: Kind
    configuration: dict[str, Any]
    """Whatever changes the distribution of the text; its digest names the set of rows."""
    entries: Callable[[], Iterator[Entry]]
    """Gives the plan, in order."""
    stages: list[Stage]
    """In order; none for data that is there already."""
    filters: Filters
    """What every generated turn must pass."""

    @cached_property
    def digest(self) -> str:
        """Names the set of rows that this configuration makes."""
        return digest(self.configuration)

    def plan(self) -> Iterator[tuple[str, Callable[[], Draft]]]:
        """For each planned record the id it will end under, and what makes its first draft."""
        for key, make in self.entries():
            plan_id = digest(self.digest, key)
            yield plan_id, partial(_named, make, plan_id)


def _named(make: Callable[[], Draft], plan_id: str) -> Draft:
    return replace(make(), plan_id=plan_id)
