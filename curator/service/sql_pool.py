"""Queries of others, each in a process of its own that is killed at its deadline."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHILD = "forgetless.curator.service.sql_child"


@dataclass(frozen=True)
class SqlAnswer:
    """Rows, or why there are none."""

    columns: list[dict[str, str]] = field(default_factory=list)
    """`name` and DuckDB's `type` of each."""
    rows: list[list[Any]] = field(default_factory=list)
    """Values as `curator.plain` gives them; integers that a double cannot hold are text."""
    truncated: bool = False
    """Whether there were more."""
    seconds: float = 0.0
    error: str = ""
    """What is wrong with the query, or became of it."""
    hint: str = ""
    late: bool = False
    """Whether it was ended at its deadline."""


class SqlPool:
    """Runs so many queries at once; the others wait, which counts against their deadlines.

    A spare process that has imported everything waits for the next one: DuckDB and pyarrow take most of a second.
    """

    def __init__(
        self, at_once: int = 2, memory_bytes: int = 2_000_000_000, answer_bytes: int = 4_000_000
    ) -> None:
        """`memory_bytes`: address space that a query may add, of which DuckDB takes half. `answer_bytes`: of its rows
        as JSON."""
        self._turns = asyncio.Semaphore(at_once)
        self._memory_bytes, self._answer_bytes = memory_bytes, answer_bytes
        self._spare: asyncio.Task[Process] | None = None
        self._keeps_spare = False

    async def start(self) -> None:
        """Have a process ready from here on."""
        self._keeps_spare = True
        self._refill()

    async def close(self) -> None:
        """End it. Queries that run are ended by whoever cancels those that wait for them."""
        self._keeps_spare = False
        spare, self._spare = self._spare, None
        if spare:
            with suppress(OSError):
                await _end(await spare)

    def _refill(self) -> None:
        if self._keeps_spare and not self._spare:
            self._spare = asyncio.create_task(_spawn())

    async def run(
        self,
        store: Path,
        sql: str,
        snapshot: int | None = None,
        seconds: float = 10.0,
        rows: int = 1000,
    ) -> SqlAnswer:
        """The first `rows` rows of one SELECT on a store, as it is now or at a snapshot, within `seconds`."""
        request = {
            "store": str(store.absolute()), "snapshot": snapshot, "sql": sql, "rows": rows, "seconds": seconds,
            "bytes": self._answer_bytes, "memory_bytes": self._memory_bytes,
        }  # fmt: skip
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds), self._turns:
                found = await self._asked(request)
        except TimeoutError:
            error, hint = f"the query was ended after {seconds:g} s", "narrow it, or allow more seconds"
            found = {"error": error, "hint": hint, "late": True}
        except OSError as failure:
            found = {"error": f"no process can be started: {failure.strerror}", "hint": "try again later"}
        return SqlAnswer(**found, seconds=time.monotonic() - started)

    async def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        child = await self._take()
        try:
            text, _ = await child.communicate(json.dumps(request).encode() + b"\n")
        finally:
            await asyncio.shield(_end(child))
            self._refill()  # not sooner: it would take this query's time
        if child.returncode == -signal.SIGXCPU:
            raise TimeoutError
        if child.returncode != 0:
            error = "the query ended its process: most likely, it ran out of memory"
            return {"error": error, "hint": "ask for less at once"}
        answer: dict[str, Any] = json.loads(text)
        return answer

    async def _take(self) -> Process:
        spare, self._spare = self._spare, None
        if spare:
            child = await spare
            if child.returncode is None:
                return child
        return await _spawn()


async def _spawn() -> Process:
    """Nothing of the service's environment is there to be read."""
    environment = {"LANG": "C.UTF-8"} | {name: os.environ[name] for name in ("TZ",) if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", _CHILD, str(os.getpid()),
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, cwd="/", start_new_session=True,
    )  # fmt: skip


async def _end(child: Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
