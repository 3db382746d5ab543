"""What a way of making data is: a configuration, the drafts it begins with, and a list of stages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

from forgetless.curator.store import Store
from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.schemas.base import digest
from forgetless.schemas.outcome import Kind
from forgetless.schemas.steps import Filters, TextFilters

Entry = tuple[str, Callable[[], Draft]]
"""What tells a planned record from the others of its step (a position, a source's text, a parent's id), and what
makes it: most of a plan is there already when it is read again, and needs no making."""


class Asking(Protocol):
    """A stage that has a model write: `samples` requests per draft."""

    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def author(self) -> Author:
        """Who is asked."""
        ...

    @property
    def samples(self) -> int:
        """Requests per draft."""
        ...

    @property
    def filters(self) -> Filters | None:
        """What a reply must pass; None where it is no part of a record."""
        ...

    @property
    def finished(self) -> bool:
        """Whether a turn must have ended by itself, where the recipe leaves it open."""
        ...

    @property
    def distinct(self) -> bool:
        """Whether the same turn twice in a step is a duplicate."""
        ...

    @property
    def workers(self) -> int:
        """Threads that read replies: more than one where that waits for other processes."""
        ...

    def ask(self, draft: Draft) -> Ask:
        """What to have continued."""
        ...

    def written(self, draft: Draft, answer: Answer) -> Draft:
        """The draft with the reply in it and nothing behind: what one leaves that a filter refuses."""
        ...

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        """The draft with the reply in it, and what is said of it, as the next stage takes it."""
        ...


class OneReply:
    """What most asking stages are: one request per draft, whose reply ends by itself and may be a repeated one."""

    @property
    def samples(self) -> int:
        return 1

    @property
    def finished(self) -> bool:
        return True

    @property
    def distinct(self) -> bool:
        return False

    @property
    def workers(self) -> int:
        return 1

    def written(self, draft: Draft, answer: Answer) -> Draft:
        return answer.behind(draft)


@runtime_checkable
class Choosing(Protocol):
    """A stage that looks at all that the stages before it, back to the last such one, made of one plan."""

    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def scored(self) -> bool:
        """Whether it needs the base model's log-probs of what it looks at."""
        ...

    def choose(self, drafts: list[Draft], logprobs: dict[str, float]) -> list[Draft]:
        """The records that become of it, or the one draft that goes on, or a rejected one. Never none.

        `drafts` are in the order of their samples; `logprobs` gives the mean base log-prob of a target token
        of those that were scored, by `previous_id`.
        """
        ...


Stage = Asking | Choosing


@dataclass(frozen=True)
class Pipeline:
    """A step of a recipe, ready to run."""

    kind: Kind
    configuration: dict[str, Any]
    """Whatever changes the distribution of the text; its digest names the set of rows."""
    entries: Callable[[Store | None], Iterator[Entry]]
    """Gives the plan, in order; what it is planned from may be rows of the store."""
    stages: list[Stage]
    """In order; none for data that is there already."""
    filters: TextFilters
    """What a text must pass where there is no stage."""

    @cached_property
    def digest(self) -> str:
        """Names the set of rows that this configuration makes."""
        return digest(self.configuration)

    def plan(self, store: Store | None) -> Iterator[tuple[str, Callable[[], Draft]]]:
        """For each planned record the id it will end under, and what makes its first draft."""
        for key, make in self.entries(store):
            plan_id = digest(self.digest, key)
            yield plan_id, partial(_named, make, plan_id)


def _named(make: Callable[[], Draft], plan_id: str) -> Draft:
    return replace(make(), plan_id=plan_id)
