"""Short commands of the command line whose answer a request waits for."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forgetless.curator.service.problems import Problem

AT_ONCE = asyncio.Semaphore(2)
"""Each imports what it needs anew: more of them would only wait for a processor."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def error(self) -> tuple[str, str]:
        """What it said last, and the way out."""
        lines = self.stderr.strip().splitlines() or ["it ended without a word"]
        message, _, hint = lines[-1].removeprefix("error: ").partition(" → ")
        return message, hint


async def run_command(arguments: Sequence[str | Path], folder: Path, seconds: float) -> Ended:
    """`forgetless ARGUMENTS` in a process of its own, which dies with the service.

    Raises:
        Problem: 504, it took longer than `seconds` and was killed with all that it had started.
    """
    async with AT_ONCE:
        process = await asyncio.create_subprocess_exec(
            *command(arguments), cwd=folder, env=environment(), start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            stdout, stderr = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError:
            raise Problem(
                504, f"it took longer than {seconds:g} seconds", "run it on the command line"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, stdout, stderr.decode(errors="replace"))


def command(arguments: Sequence[str | Path]) -> list[str]:
    """The command line, whatever lies in the folder that it is started in."""
    return [sys.executable, "-P", "-m", "forgetless.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Of a child: it dies with the service, its SQL touches nothing but the store, no colours."""
    return dict(os.environ) | {
        "FORGETLESS_PARENT": str(os.getpid()),
        "FORGETLESS_CONFINED": "1",
        "NO_COLOR": "1",
    }
