"""A job's process: the command line in a session of its own, which dies with the service."""

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from forgetless.curator.service.command import command, environment

LOG, OUTPUT = "stderr", "stdout"
LINGERS_SECONDS = 3.0
"""What is left of a process whose service has died is killed then; the kernel is faster where it can be told."""


class Child:
    """One that runs. Its log is a locked file, so that whoever can lock it knows that nobody is left."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, arguments: list[str], folder: Path, before: int | None) -> "Child":
        """The command line in `folder`; its log goes on behind that of earlier attempts, of which `before` was the last."""
        folder.mkdir(parents=True, exist_ok=True)
        async with _alone(folder, before) as log:
            with (folder / OUTPUT).open("wb") as output:  # of this attempt only
                # From the thread of the event loop: the kernel ends a child with the thread that it was started by.
                process = await asyncio.create_subprocess_exec(
                    *command(arguments), cwd=folder, env=environment() | {"FORGETLESS_PROGRESS": "json"},
                    start_new_session=True, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=log,
                )  # fmt: skip
        return cls(process)

    async def wait(self) -> int:
        """Until it has ended: its exit code, or the negative number of the signal."""
        return await self._process.wait()

    async def end(self, seconds: float) -> None:
        """Ask it to end, and kill all of its group if it takes longer."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self.wait()


async def gone(folder: Path, pid: int | None) -> None:
    """Until nobody writes to a job's log any more; one that lingers is killed with its group."""
    if (folder / LOG).exists():
        async with _alone(folder, pid):
            pass


@asynccontextmanager
async def _alone(folder: Path, pid: int | None) -> AsyncIterator[int]:
    """The job's log, open and locked. The lock goes to those who inherit the file, and ends with the last of them."""
    log = os.open(folder / LOG, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        kill_at = time.monotonic() + LINGERS_SECONDS
        while not _locked(log):
            if pid and time.monotonic() > kill_at:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # the lock is held, so this is still the group that it was
            await asyncio.sleep(0.02)
        _end_line(log)
        yield log
    finally:
        os.close(log)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_line(log: int) -> None:
    """What was killed amid a line must not be continued by what follows."""
    size = os.fstat(log).st_size
    if size and os.pread(log, 1, size - 1) != b"\n":
        os.write(log, b"\n")
