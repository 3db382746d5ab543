"""The durable queue: jobs that wait, jobs that run, and who is told of it."""

import asyncio
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy.exc import SQLAlchemyError

from forgetless.curator.service.child import LOG, OUTPUT, Child, gone
from forgetless.curator.service.home import lock_home
from forgetless.curator.service.ledger import ENDED, Event, Job, Ledger, State, new_id
from forgetless.curator.service.output import error_of, result_of
from forgetless.curator.service.prepare import prepare
from forgetless.curator.service.problems import Problem
from forgetless.curator.service.settings import Settings
from forgetless.curator.service.stores import Stores
from forgetless.curator.service.tail import Tail, Told
from forgetless.schemas.jobs import AnyJob

LOOK_SECONDS = 0.1
"""Between two looks at the log of a running job."""
END_SECONDS = 30.0
"""A process that was asked to end is killed then."""
RECENT = 200
"""Events of a job that are kept in memory until it ends: a hundred who follow it are not a hundred queries each time."""
STOPPED = (130, 143, -2, -9, -15)
"""Exit codes of a process that was asked to end."""

log = logging.getLogger("forgetless.service")


class Run:
    """A job in its task, with its process as soon as there is one."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.is_stopping = False
        self._child: Child | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self, folder: Path) -> Child:
        """Its process."""
        self._child = await Child.start(self.job.arguments, folder, self.job.pid)
        if self.is_stopping:
            self.stop()
        return self._child

    def stop(self) -> None:
        """Ask it to end, or kill it after a while."""
        self.is_stopping = True
        if self._child and not self._ending:
            self._ending = asyncio.create_task(self._child.end(END_SECONDS))


class Queue:
    """All of it happens in the event loop's thread; between `start` and `close` jobs run."""

    def __init__(self, settings: Settings, ledger: Ledger, stores: Stores) -> None:
        self._settings, self._ledger, self._stores = settings, ledger, stores
        self._runs: dict[str, Run] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._recent: dict[str, deque[Event]] = {}
        self._lock: int | None = None
        self.is_running = False
        """Jobs are taken and started."""
        self._tells = False
        """Events may still come: for a while longer, since processes that end have something to say."""

    def folder(self, id: str) -> Path:
        """A job's own folder: settings, log, output."""
        return self._settings.home / "jobs" / id

    def job(self, id: str) -> Job:
        """As the ledger has it; Problem 404 if there is none of this id."""
        return self._ledger.job(id)

    async def start(self) -> None:
        """Go on with the jobs that were left.

        Raises:
            UsageError: another service has this home.
        """
        self._lock = lock_home(self._settings.home)
        for job in reversed(self._ledger.jobs(state="running")):
            await self._recover(job)
        self.is_running = self._tells = True
        self._schedule()

    async def close(self) -> None:
        """Ask processes to end, and wait for them; their jobs go on at the next start."""
        self.is_running = False
        for run in self._runs.values():
            run.stop()
        await asyncio.gather(*(run.task for run in self._runs.values() if run.task), return_exceptions=True)
        self._tells = False
        for id in list(self._bells):
            self.wake(id)
        self._ledger.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def submit(self, asked: AnyJob, key: str | None = None) -> tuple[Job, bool]:
        """A job that waits its turn, and True; or the one that the same `key` has made before, and False.

        Raises:
            UsageError: it names what it may not, or its settings are wrong.
            Problem: 404, there is no such store; 422, the key was used for another request.
        """
        if key and (found := self._ledger.of_key(key, asked)):
            return found, False
        id = new_id()
        folder = self.folder(id)
        made = False
        try:
            prepared = await asyncio.to_thread(prepare, asked, folder, self._settings, self._stores)
            job, made = self._ledger.add(id, asked, prepared, key)
        finally:
            if not made:
                shutil.rmtree(folder, ignore_errors=True)
        self._schedule()
        return job, made

    def cancel(self, id: str) -> Job:
        """Take a job out of the queue, or ask its process to end. Problem 409 if it has ended."""
        job = self._ledger.job(id)
        if job.state == "queued":
            job = self._to(job, "cancelled", ended=time.time())
            self._schedule()
        elif job.state == "running":
            if not job.is_cancelled:
                job = self._change(
                    job, [("log", {"line": "cancelling: it is asked to end"})], is_cancelled=True
                )
            if run := self._runs.get(id):
                run.stop()
        else:
            raise Problem(409, f"job {id!r} has {job.state} already", "resume it, or make a new one")
        return job

    def resume(self, id: str) -> Job:
        """Queue a job again that failed or was cancelled; it goes on where it was. Problem 409 for others."""
        job = self._ledger.job(id)
        if job.state not in ("failed", "cancelled"):
            hint = "make a new one" if job.state == "succeeded" else "wait for its end"
            raise Problem(409, f"job {id!r} is {job.state}", hint)
        job = self._to(job, "queued", ended=None, exit_code=None, error=None, is_cancelled=False)
        self._schedule()
        return job

    async def events(
        self, id: str, after: int = 0, leaving: anyio.Event | None = None
    ) -> AsyncIterator[Event]:
        """A job's events behind number `after`, those to come included, up to its end, or until somebody is `leaving`
        who then calls `wake`."""
        while True:
            bell = self._bells.setdefault(id, asyncio.Event())
            found, ended = self._behind(id, after)
            for event in found:
                yield event
                after = event.number
            if not found:
                if ended or not self._tells or (leaving and leaving.is_set()):
                    return
                await bell.wait()

    def _behind(self, id: str, after: int) -> tuple[list[Event], bool]:
        """Events behind number `after`, and whether the job has ended."""
        recent = self._recent.get(id)
        if recent and recent[0].number <= after + 1:
            return [event for event in recent if event.number > after], False
        job = self._ledger.job(id)  # before the events: its end and the event of it come together
        return self._ledger.events(job, after), job.state in ENDED

    def wake(self, id: str) -> None:
        """Have those look who wait for events of a job."""
        if bell := self._bells.pop(id, None):
            bell.set()

    def _change(self, job: Job, events: Sequence[Told] = (), **values: Any) -> Job:
        """Commit, then tell."""
        job, kept = self._ledger.change(job, events, **values)
        if job.state in ENDED:
            self._recent.pop(job.id, None)
        elif kept:
            self._recent.setdefault(job.id, deque(maxlen=RECENT)).extend(kept)
        if events:
            self.wake(job.id)
        return job

    def _to(self, job: Job, state: State, events: Sequence[Told] = (), **values: Any) -> Job:
        """Into another state."""
        attempt = values.get("attempts", job.attempts)
        said = {"state": state, "attempt": attempt} | {
            name: values[name] for name in ("exit_code", "error") if values.get(name) is not None
        }
        return self._change(job, [*events, ("state", said)], state=state, **values)

    async def _recover(self, job: Job) -> None:
        """A job that ran when the service died: what its process has said is kept, then it is queued again."""
        await gone(self.folder(job.id), job.pid)
        self._drain(job, Tail(self.folder(job.id) / LOG, job.offset))
        if job.is_cancelled:
            self._to(job, "cancelled", ended=time.time(), pid=None)
        else:
            self._to(job, "queued", pid=None)

    def _schedule(self) -> None:
        """Start what may run, the oldest first; nothing overtakes a job that waits for the same store."""
        if not self.is_running:
            return
        touched = [path for run in self._runs.values() for path in run.job.writes]
        for job in reversed(self._ledger.jobs(state="queued")):
            if len(self._runs) >= self._settings.jobs:
                return
            if job.id not in self._runs and not any(_overlap(a, b) for a in job.writes for b in touched):
                self._begin(job)
            touched += job.writes

    def _begin(self, job: Job) -> None:
        run = self._runs[job.id] = Run(job)
        run.task = asyncio.create_task(self._run(run))

    async def _run(self, run: Run) -> None:
        try:
            await self._attempt(run)
        except (OSError, SQLAlchemyError) as error:  # such as a full disk
            log.exception("job %s", run.job.id)
            self._to(
                run.job, "failed", ended=time.time(), error=f"the service could not run it: {error}"[:1000]
            )
        finally:
            del self._runs[run.job.id]
            self._schedule()

    async def _attempt(self, run: Run) -> None:
        folder = self.folder(run.job.id)
        run.job = self._to(
            run.job, "running", attempts=run.job.attempts + 1, started=time.time(), progress=None, result=None
        )
        child = await run.start(folder)
        run.job = self._change(run.job, pid=child.pid)
        tail = Tail(folder / LOG, run.job.offset)
        ended = asyncio.create_task(child.wait())
        while not ended.done():
            self._tell(run.job, tail)
            await asyncio.wait([ended], timeout=LOOK_SECONDS)
        self._drain(run.job, tail)
        self._end(run, ended.result())

    def _end(self, run: Run, code: int) -> None:
        job = self._ledger.job(run.job.id)
        if code and not self.is_running and not job.is_cancelled:
            self._to(job, "queued", pid=None)
            return
        state: State = "succeeded" if not code else "failed"
        if code in STOPPED and job.is_cancelled:
            state = "cancelled"
        result = result_of(self.folder(job.id) / OUTPUT) if state != "cancelled" else None
        said: list[Told] = [] if result is None else [("result", result)]
        error = error_of(self.folder(job.id) / LOG, code) if state == "failed" else None
        self._to(job, state, said, ended=time.time(), exit_code=code, error=error, result=result, pid=None)

    def _drain(self, job: Job, tail: Tail) -> None:
        """All that is left of a log."""
        self._tell(job, tail, whole=True)
        while tail.is_behind:
            self._tell(job, tail, whole=True)

    def _tell(self, job: Job, tail: Tail, whole: bool = False) -> None:
        """Events of a log and how far it was read, in one transaction: a kill loses none and repeats none."""
        before = tail.offset
        events = tail.read(whole)
        if tail.offset != before:
            self._change(job, events, offset=tail.offset)


def _overlap(a: Path, b: Path) -> bool:
    """One lies in the other, or is the same."""
    return a.is_relative_to(b) or b.is_relative_to(a)
