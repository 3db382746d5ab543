"""What an engine is to the pipelines, and what a backend is to the process that hosts it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from forgetless.schemas.request import Request, Result


@dataclass
class EngineStats:
    """What an engine has done since it was made."""

    requests: int = 0
    """Requests that ended."""
    prompt_tokens: int = 0
    """Tokens of their prompts."""
    tokens: int = 0
    """Tokens sampled."""
    retries: int = 0
    """Times a server was asked again."""
    restarts: int = 0
    """Times it died or stalled and was started again."""

    def count(self, prompt_tokens: int, tokens: int) -> None:
        """One more request ended."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens
        self.tokens += tokens


class Engine(Protocol):
    """Runs requests. Bounded in flight: a request is taken from the stream when there is room for it."""

    stats: EngineStats

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        """Results as they finish, in any order, one per request. A request that cannot be run, or that
        keeps killing the engine, ends as a result with finish_reason `error`.

        Raises:
            EngineError: the engine cannot be started or reached, or fails without finishing anything.
        """
        ...

    def close(self) -> None:
        """End it. What it has in flight is lost."""
        ...


class Backend(Protocol):
    """A model in the hosting process."""

    def add(self, request: Request) -> Result | None:
        """Take a request; a Result at once if it cannot be run."""
        ...

    def step(self) -> list[Result]:
        """One token for every request in flight; those that ended by it."""
        ...

    def pending(self) -> bool:
        """Whether anything is in flight."""
        ...
