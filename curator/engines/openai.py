"""A server that speaks OpenAI's protocol as an engine: `vllm serve`, or a hosted model.

    request → one try → answered                              → a result
                      → 429, 5xx, lost, slow                  → another try, later
                      → 4xx, or no tries left                 → a result with an error
                      → key, model or address wrong           → EngineError

Errors are held back until a request that began after them succeeds: a server that fails everything, from
the start or from some moment on, turns no row into a reject, it ends the run.
"""

import asyncio
import queue
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import openai
from pydantic import BaseModel

from forgetless.curator.engines import openai_wire as wire
from forgetless.curator.engines.keys import key_of
from forgetless.curator.engines.protocol import EngineStats
from forgetless.curator.engines.results import failed
from forgetless.curator.progress import note
from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Endpoint
from forgetless.schemas.request import Request, Result

_FAILURES = 20
"""Failures without a success between them, after which the server is to blame and not the requests."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first further try, doubled each time; the server's own Retry-After may be longer."""
_LONGEST_RETRY_AFTER = 600.0
_AGAIN = (408, 409, 429)

Read = TypeVar("Read", bound=BaseModel)


@dataclass
class _Failure(Exception):
    """A request that was not answered, and whose fault that is."""

    reason: str
    servers: bool = True
    """The server's, not the request's."""
    again: bool = False
    """Worth another try."""
    pause: float = 0.0
    """Seconds the server wants to be left alone."""


@dataclass
class _Ended:
    result: Result
    failure: _Failure | None
    began: float
    ended: float


class OpenAIEngine:
    """The server at `config.base_url`. Its key is read from the environment and kept nowhere else."""

    def __init__(self, config: Endpoint) -> None:
        self.config = config
        self.stats = EngineStats()
        self._client: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop
        self._asked: set[Future[Any]] = set()
        self._limit: int | None = None
        self._answered = False

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        """See `Engine.generate`."""
        stream = iter(requests)
        done: queue.SimpleQueue[Future[_Ended]] = queue.SimpleQueue()
        flying: set[Future[_Ended]] = set()
        held: list[_Ended] = []
        in_a_row = 0
        try:
            while True:
                while len(flying) < self.config.in_flight and (request := next(stream, None)):
                    self._start()
                    future = self._submit(self._answer(request))
                    flying.add(future)
                    future.add_done_callback(done.put)
                if not flying:
                    break
                future = done.get()
                flying.remove(future)
                if future.exception():
                    yield from (other.result().result for other in flying if _finished(other))
                ended = future.result()
                if ended.failure and (ended.failure.servers or not self._answered):
                    held.append(ended)
                    in_a_row += 1
                    if in_a_row >= _FAILURES:
                        raise self._unusable(
                            f"failed {in_a_row} requests in a row, the last: {ended.result.error}"
                        )
                    continue
                if not ended.failure:
                    in_a_row = 0
                    yield from (other.result for other in held if other.ended < ended.began)
                    held = [other for other in held if other.ended >= ended.began]
                yield ended.result
        finally:
            for future in flying:
                future.cancel()
        if len(held) > 1 and not self._answered and all(e.failure and e.failure.servers for e in held):
            raise self._unusable(f"answered none of {len(held)} requests, the last: {held[-1].result.error}")
        yield from (ended.result for ended in held)

    def close(self) -> None:
        """Drop what is in flight and the connections."""
        if self._client:
            for future in list(self._asked):
                future.cancel()
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._client = None

    def _start(self) -> None:
        if self._client:
            return
        key = key_of(self.config)
        # Own tries, own clock: the client's cannot be counted, and its timeout is per read.
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=self.config.base_url, max_retries=0, timeout=None
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
        if self.config.server == "vllm":
            self._limit = self._submit(self._longest()).result()

    def _submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # cancelled; those that the client made for them are its own to end
            await asyncio.wait(others, timeout=5)
        assert self._client
        await self._client.close()

    async def _longest(self) -> int | None:
        try:
            served = await self._exchange(wire.Served, "/models", None)
        except _Failure:
            return None  # what is wrong shows when a request is sent
        return next((card.max_model_len for card in served.data if card.id == self.config.model), None)

    async def _answer(self, request: Request) -> _Ended:
        began = time.monotonic()
        try:
            if reason := wire.unsendable(self.config, request):
                raise _Failure(reason, servers=False)
            route, body = wire.asked(self.config, request, self._limit)
            answer = await self._exchange(wire.Answer, route, body)
        except _Failure as failure:
            self.stats.count(0, 0)
            return _Ended(failed(request, failure.reason), failure, began, time.monotonic())
        self._answered = True
        usage = answer.usage or wire.Usage()
        self.stats.count(usage.prompt_tokens, usage.completion_tokens)
        return _Ended(wire.result_of(request, answer), None, began, time.monotonic())

    async def _exchange(self, form: type[Read], route: str, body: dict[str, Any] | None) -> Read:
        """The server's answer, after as many tries as it takes and is given."""
        for attempt in range(self.config.retries):
            try:
                return await self._try(form, route, body)
            except _Failure as failure:
                if not failure.again:
                    raise
                self._count_retry(failure)
                pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1)
                await asyncio.sleep(max(pause, failure.pause))
        return await self._try(form, route, body)

    async def _try(self, form: type[Read], route: str, body: dict[str, Any] | None) -> Read:
        assert self._client
        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                if body is None:
                    return form.model_validate(await self._client.get(route, cast_to=object))
                return form.model_validate(await self._client.post(route, cast_to=object, body=body))
        except TimeoutError:
            raise _Failure(f"no answer within {self.config.timeout_seconds:g} s", again=True) from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            # The class belongs to httpx or, since openai 3, to httpx2.
            if type(error.__cause__).__name__ == "ConnectError" and not self._answered:
                raise self._unusable("cannot be reached") from None
            reason = f"the connection was lost: {type(error.__cause__).__name__}"
            raise _Failure(reason, again=True) from None
        except ValueError:  # JSON's and pydantic's
            raise _Failure(f"what {route} answered is not of OpenAI's protocol", again=True) from None

    def _refusal(self, error: openai.APIStatusError) -> Exception:
        """What an HTTP status of 400 or more means."""
        status, body = error.status_code, error.body if isinstance(error.body, dict) else {}
        said = str(body.get("message") or error.response.text)
        reason = f"{status}: {self._safe(said)}"
        if status == 401 or body.get("code") == "insufficient_quota":
            return self._unusable(f"refuses the key in {self.config.api_key_env!r}, {reason}")
        if status in (403, 404) and not self._answered:
            return self._unusable(f"refuses, {reason}")
        again = status in _AGAIN or status >= 500
        return _Failure(reason, again or status in (403, 404), again, _retry_after(error.response.headers))

    def _unusable(self, what: str) -> EngineError:
        hint = f"check that it is up, `base_url`, `model`, and the key in {self.config.api_key_env}; what was answered is kept"
        return EngineError(f"the server at {self.config.base_url!r} {what}", hint)

    def _count_retry(self, failure: _Failure) -> None:
        self.stats.retries += 1
        if self.stats.retries in (10, 100, 1000, 10_000):
            note(
                f"engine: {self.config.base_url} was asked again {self.stats.retries:,} times ({failure.reason})"
            )

    def _safe(self, said: str) -> str:
        """One short line without the key, which some servers repeat."""
        assert self._client
        line = " ".join(said.split()).replace(self._client.api_key, "***")
        return line if len(line) <= 300 else line[:300] + " …"


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _finished(future: "Future[_Ended]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _retry_after(headers: Any) -> float:
    """Seconds, from a number of them or from a date; 0 where nothing is said."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
