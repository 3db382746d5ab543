"""The same mathematics, as the `math-verify` library judges it: LaTeX, sets, intervals, equations, matrices."""

import atexit
import json
import signal
import subprocess
import sys
import threading
from typing import Any

from forgetless.curator.verifiers import math_worker
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict


class Mathematician:
    """`math_worker` in a process of its own.

    Some expressions keep SymPy busy for ever (9^9^9^9), inside C code that no exception interrupts, and the
    library's own time limit is a signal that only a main thread may set. Here a thread waits its turn, and a
    process that took too long is gone and replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, answer: str, reference: str) -> dict[str, Any]:
        """{passed, reason}, or {unusable} where the reference is no mathematics."""
        with self._lock:
            if self._process is None:
                self._process = self._start()
            process = self._process
            assert process.stdin and process.stdout
            try:
                process.stdin.write(json.dumps([answer, reference]).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            except BaseException:  # interrupted: the next question would read this one's answer
                self.close()
                raise
            if line:
                said: dict[str, Any] = json.loads(line)
                return said
            self.close()
            return {"passed": False, "reason": _cause(process.returncode)}

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C is for us; it leaves when its stdin closes.
        return subprocess.Popen(
            [sys.executable, "-m", math_worker.__name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _cause(code: int) -> str:
    if code == -signal.SIGPROF:
        return f"takes more than {math_worker.CPU_SECONDS} seconds to compare"
    return f"cannot be compared: math-verify ended with status {code}"


_mathematician = Mathematician()
atexit.register(_mathematician.close)


def mathematics(answer: str, reference: str) -> Verdict:
    """Passes where answer and reference are mathematically the same."""
    said = _mathematician.ask(answer, reference)
    if "unusable" in said:
        way_out = "write LaTeX or a number; for words use the verifier exact"
        raise UsageError(f"the reference {reference!r} is no mathematics", way_out)
    return Verdict(verifier="math", score=float(said["passed"]), **said)
