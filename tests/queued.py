"""A queue whose jobs run a small script in the place of the command line."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from forgetless.curator.service import child
from forgetless.curator.service.ledger import Event, Job, Ledger
from forgetless.curator.service.queue import Queue
from forgetless.curator.service.settings import Settings
from forgetless.curator.service.stores import Stores
from forgetless.schemas.jobs import AnyJob

_ANY: TypeAdapter[AnyJob] = TypeAdapter(AnyJob)

BEGIN = """\
import ctypes, json, os, signal, sys, time
from pathlib import Path
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
say = lambda *what: print(*what, file=sys.stderr, flush=True)
bar = lambda done, total, **more: say(json.dumps({"progress": {"label": "bar", "done": done, "total": total, **more}}))
"""


def asked(**fields: Any) -> AnyJob:
    """A job as a client writes it."""
    return _ANY.validate_python(fields)


@asynccontextmanager
async def queue(
    home: Path, monkeypatch: pytest.MonkeyPatch, script: str = "", jobs: int = 1
) -> AsyncIterator[Queue]:
    """One that runs, over stores `a`, `b` and `c`."""
    file = home.parent / "script.py"
    file.write_text(BEGIN + script)
    monkeypatch.setattr(child, "command", lambda arguments: [sys.executable, str(file), *arguments])
    home.mkdir(exist_ok=True)
    stores = {name: home.parent / name for name in "abc"}
    settings = Settings(home=home, stores=stores, roots=(home.parent,), jobs=jobs)
    made = Queue(settings, Ledger(home), Stores(settings))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def told(queue: Queue, job: Job, after: int = 0) -> list[Event]:
    """All events up to the job's end."""
    return [event async for event in queue.events(job.id, after)]


def states(events: list[Event]) -> list[str]:
    """Into which the job came."""
    return [event.data["state"] for event in events if event.type == "state"]


def lines(events: list[Event]) -> list[str]:
    """What it said."""
    return [line for event in events if event.type == "log" for line in event.data["line"].split("\n")]


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)
