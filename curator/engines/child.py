"""An engine in a child process of ours: it can be killed and started again, and takes no run down with it.

Messages are one JSON value per line, not pickle: what crosses the pipe is data, never code.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from forgetless.curator.engines.protocol import EngineStats
from forgetless.curator.engines.results import failed
from forgetless.curator.progress import note
from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result

_BARREN_DEATHS = 6
"""Deaths in a row without one finished request, after which the engine itself is to blame."""
_START_SECONDS = 1800.0
"""Loading a large model from a slow disk takes minutes."""


class ChildEngine:
    """The engine that `config` names, with the model in `folder`; it starts with the first request.

    With `scores` (top_k, batch_tokens) it is vLLM that scores the requests' prompts and generates nothing.
    """

    def __init__(
        self,
        folder: Path,
        config: EngineConfig,
        log: Path,
        trust_remote_code: bool = False,
        scores: dict[str, int | None] | None = None,
    ) -> None:
        self.folder, self.config, self.log, self.trust = folder, config, log, trust_remote_code
        self.scores = scores
        self.stats = EngineStats()
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        """See `Engine.generate`.

        After a death the requests that were in flight are run again in groups an eighth as large, and so
        on, until the one that kills is alone: it ends with an error, the others go on, in growing groups.
        """
        stream = iter(requests)
        flying: dict[str, Request] = {}
        suspects: list[Request] = []
        suspected: set[str] = set()
        held: list[Result] = []
        bound, barren, finished = self.config.in_flight, 0, False
        while True:
            if not suspects and not flying:
                bound = self.config.in_flight
            while len(flying) < bound and (request := self._next(stream, suspects, bound)):
                flying[request.id] = request
                with contextlib.suppress(BrokenPipeError):  # its death is read from its output
                    send(self._input(), request.model_dump())
            if not flying:
                if len(held) > 1 and not finished:
                    raise self._broken(barren)
                yield from held
                return
            message = self._receive(self.config.stall_seconds)
            if message is None:
                barren += 1
                self._restart(barren)
                if len(flying) == 1 and suspected >= flying.keys():
                    held += [failed(request, "the engine died on it, twice") for request in flying.values()]
                else:
                    suspects = [*flying.values(), *suspects]
                    suspected |= flying.keys()
                    bound = max(1, len(flying) // 8)
                flying.clear()
            elif "result" in message:
                yield from held  # others finish: it was they that killed, and not the engine that is broken
                held.clear()
                barren, bound, finished = 0, min(bound + 1, self.config.in_flight), True
                result = Result.model_construct(**message["result"])  # from our own code: not validated again
                del flying[result.id]
                self.stats.count(len(result.prompt_ids), len(result.token_ids))
                yield result

    def close(self) -> None:
        """Kill the child: nothing in it is worth waiting for."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _next(self, stream: Iterator[Request], suspects: list[Request], bound: int) -> Request | None:
        """Suspects first, and alone until groups are large again: who flies with them becomes one too."""
        if suspects:
            return suspects.pop(0)
        return next(stream, None) if bound == self.config.in_flight else None

    def _restart(self, barren: int) -> None:
        self.close()
        if barren > _BARREN_DEATHS:
            raise self._broken(barren)
        self.stats.restarts += 1
        note(f"engine: {self.config.kind} died and is started again")

    def _broken(self, deaths: int) -> EngineError:
        what = f"the {self.config.kind} engine died {deaths} times in a row without finishing a request"
        return EngineError(what, f"see {self.log}")

    def _input(self) -> BinaryIO:
        if not self._process:
            self._start()
        assert self._process and self._process.stdin
        return self._process.stdin  # type: ignore[return-value]

    def _start(self) -> None:
        note(f"engine: starting {self.config.kind}, its log is {self.log}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "forgetless.curator.engines.worker", str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=environment(),
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._messages = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process.stdout, self._messages), daemon=True).start()
        start = {
            "model": str(self.folder), "engine": self.config.model_dump(), "trust_remote_code": self.trust,
            "scores": self.scores,
        }  # fmt: skip
        with contextlib.suppress(BrokenPipeError):
            send(self._process.stdin, start)  # type: ignore[arg-type]
        answer = self._receive(_START_SECONDS)
        if answer is None or "failed" in answer:
            self.close()
            reason = answer["failed"] if answer else "it ended without a word"
            hint = f"see {self.log}; where memory is short, lower `engine.max_model_len` or `engine.memory_share`"
            raise EngineError(f"the {self.config.kind} engine did not start: {reason}", hint)

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if the child died or was silent for so long."""
        try:
            message = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        return message or None


def environment() -> dict[str, str]:
    """What a process that hosts a model finds in its environment; the user's own settings come first.

    OpenMP's threads spin while they wait for each other. Beside any other busy process, such as the one that
    writes what the engine makes, that costs up to ten times the throughput on two cores; sleeping does not.
    """
    defaults = {
        "VLLM_LOGGING_LEVEL": "INFO",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return defaults | dict(os.environ)


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one message."""
    stream.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    stream.flush()


def _read(stream: Any, messages: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Lines become messages; the end of the stream, even amid a line, becomes an empty one."""
    with contextlib.suppress(json.JSONDecodeError, OSError, ValueError):
        for line in stream:
            messages.put(json.loads(line))
    messages.put({})
