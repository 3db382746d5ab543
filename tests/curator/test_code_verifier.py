"""Programs against their tests: good ones, hostile ones, and systems that can hold neither."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import psutil
import pytest
from given import COMMAND

from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

ROOT = Path(__file__).parents[2]
SECRET = "a-word-of-the-parents-environment"
TEST = "assert double(2) == 4\nassert double(-1) == -2"
RIGHT = "def double(x):\n    return 2 * x\n"
HOSTILE = {
    "sleeps": ("import time\ntime.sleep(3600)", "stopped after 10 seconds"),
    "computes without end": ("while True: pass", "stopped after"),
    "forks": ("import os\nos.fork()", "PermissionError"),
    "forks without end": ("import os\nwhile os.fork() >= 0: pass", "PermissionError"),
    "starts a thread": ("import threading\nthreading.Thread(target=print).start()", "can't start new thread"),
    "starts a program": ("import subprocess\nsubprocess.run(['/bin/true'])", "PermissionError"),
    "allocates without end": ("x = []\nwhile True: x.append(bytearray(1 << 20))", "MemoryError"),
    "allocates at once": ("x = bytearray(1 << 34)", "MemoryError"),
    "writes a large file": ("f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))", "OSError"),
    "writes many files": ("i = 0\nwhile True: i += open(str(i), 'w').write('1')", "OSError"),
    "opens many files": ("f = []\nwhile True: f.append(open('f', 'w'))", "OSError"),
    "writes outside": ("open('/tmp/forgetless-escape', 'w')", "Error"),
    "writes to the root": ("open('/forgetless-escape', 'w')", "Read-only file system"),
    "writes to the library": ("import os\nopen(os.__file__, 'a')", "Error"),
    "leaves its folder": ("import os\nos.chdir('..')\nopen('escape', 'w')", "Read-only file system"),
    "reads a password file": ("open('/etc/passwd')", "FileNotFoundError"),
    "reads the repository": (f"open({str(ROOT / 'pyproject.toml')!r})", "FileNotFoundError"),
    "follows a link": ("import os\nos.symlink('/etc/passwd', 'l')\nopen('l')", "FileNotFoundError"),
    "follows a link up": ("import os\nos.symlink('../../../../etc', 'l')\nos.listdir('l')", "FileNotFoundError"),
    "reads the parent's environment": ("open('/proc/1/environ').read()", "FileNotFoundError"),
    "looks through all processes": ("import os\nos.listdir('/proc')", "FileNotFoundError"),
    "looks into its environment": (f"import os\nassert {SECRET!r} in str(os.environ)", "AssertionError"),
    "looks for its parent": ("import os\nassert os.getppid()", "AssertionError"),
    "opens a socket": ("import socket\nsocket.socket()", "PermissionError"),
    "connects": ("import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)", "Error"),
    "kills everything": ("import os\nos.kill(-1, 9)", "ProcessLookupError"),
    "mounts": ("import ctypes\nassert ctypes.CDLL(None).umount2(b'/scratch', 2) == 0", "AssertionError"),
    "makes a namespace": ("import ctypes\nassert ctypes.CDLL(None).unshare(1 << 28) == 0", "AssertionError"),
    "changes its root": ("import os\nos.chroot('.')", "PermissionError"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "crashed with signal 11"),
    "exits": ("import sys\nsys.exit(0)", "SystemExit"),
    "exits at once": ("import os\nos._exit(0)", "ended before its tests did"),
    "exits when called": ("import os\ndef double(x): os._exit(0)", "ended before its tests did"),
    "says that it passed": (
        "import os\nfor fd in range(64):\n try: os.write(fd, b'passed')\n except OSError: pass\nos._exit(0)",
        "passed",
    ),
    "replaces what tests call": (
        "import builtins\nbuiltins.AssertionError = builtins.print = int\nbuiltins.abs = lambda x: 0\ndef double(x): return 2 * x if x < 3 else 7",
        "assert abs(double(3) - 6) < 1: AssertionError",
    ),
    "has an error that cannot be shown": (
        "class E(Exception):\n def __str__(self): raise self\nraise E",
        "program",
    ),
    "is no Python": ("def double(x:", "SyntaxError"),
    "is not there": ("", "no program in the answer"),
    "is wrong": ("def double(x): return 4", "tests, line 2: assert double(-1) == -2: AssertionError"),
}  # fmt: skip


def refusal() -> str:
    """Why this system cannot run programs; empty if it can."""
    try:
        verifier("code", allow_code_execution=True)
    except UsageError as error:
        return str(error)
    return ""


REFUSAL = refusal()


def jailed(test: Callable[..., None]) -> Callable[..., None]:
    """Where there is no jail, what is to hold is that nothing runs and that the way out is named."""

    @wraps(test)
    def held(*arguments: Any, **given: Any) -> None:
        if REFUSAL:
            assert "no safe place to run programs" in REFUSAL and "namespaces" in REFUSAL
        else:
            test(*arguments, **given)

    return held


def judge(answer: str, reference: str = TEST) -> Verdict:
    return verifier("code", allow_code_execution=True)(answer, reference)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Verdict]]:
    """Of all hostile programs, run side by side with good ones."""
    if REFUSAL:
        yield {}
        return
    os.environ["FORGETLESS_SECRET"] = SECRET
    reference = TEST + "\nassert abs(double(3) - 6) < 1"
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(6) as pool:
        port = str(server.getsockname()[1])
        programs = {name: program.replace("PORT", port) for name, (program, _) in HOSTILE.items()}
        programs |= {f"good {number}": RIGHT for number in range(6)}
        judged = pool.map(lambda program: judge(program, reference), programs.values())
        yield dict(zip(programs, judged, strict=True))
    del os.environ["FORGETLESS_SECRET"]


@pytest.mark.parametrize("name", HOSTILE)
@jailed
def test_a_program_that(name: str, verdicts: dict[str, Verdict]) -> None:
    assert not verdicts[name].passed
    assert HOSTILE[name][1] in verdicts[name].reason
    assert len(verdicts[name].reason) <= 400


@jailed
def test_the_run_goes_on_and_nothing_is_left(verdicts: dict[str, Verdict]) -> None:
    assert all(verdicts[f"good {number}"].passed for number in range(6))
    assert not Path("/tmp/forgetless-escape").exists() and not Path("/forgetless-escape").exists()
    assert [
        child for child in psutil.Process().children(recursive=True) if "jail.py" in child.cmdline()
    ] == []
    before = mounts()
    assert judge(RIGHT).passed
    assert mounts() == before


@jailed
def test_all_mbpp_programs_pass_their_tests(shared: Path) -> None:
    problems = [json.loads(line) for line in (shared / "mbpp" / "mbpp_200.jsonl").read_text().splitlines()]
    references = ["\n".join([p["test_setup_code"], *p["test_list"]]) for p in problems]
    with ThreadPoolExecutor(4) as pool:
        right = list(pool.map(judge, (f"```python\n{p['code']}\n```" for p in problems), references))
        wrong = list(pool.map(judge, [p["code"] for p in problems[1:21]], references))
    assert len(right) == 200
    assert [verdict.reason for verdict in right if not verdict.passed] == []
    assert not any(verdict.passed for verdict in wrong)


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"```python\n{RIGHT}```",
        f"Here:\n\n```py\n{RIGHT}```\nUse it so:\n```python\nprint(double(x))\n```",
        f"Output first:\n```\n4\n```\nthen\n```python\n{RIGHT}```",
        f"```\n{RIGHT}```",
        f"1. Define it:\n{textwrap.indent(f'```python3{chr(10)}{RIGHT}```', '   ')}",
        f"```python\n{RIGHT}",
        RIGHT.replace("\n", "\r\n"),
        RIGHT + "if __name__ == '__main__':\n    print(double(int(input())))",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\n" + RIGHT,
        "from __future__ import annotations\n" + RIGHT,
        "for _ in range(300): print('x' * 1_000_000)\n" + RIGHT,
        "open('f', 'w').write('1')\nassert open('f').read() == '1'\n" + RIGHT,
        "import os\nassert os.listdir() == []\n" + RIGHT,
        "import asyncio, tempfile, decimal, ctypes\nasync def f(): return tempfile.mkdtemp()\nasyncio.run(f())\n" + RIGHT,
    ],
)  # fmt: skip
@jailed
def test_where_the_program_is_and_what_it_may(answer: str) -> None:
    assert judge(answer) == Verdict(verifier="code", passed=True, score=1.0)


@jailed
def test_humaneval() -> None:
    check = "def check(candidate):\n    assert candidate(2) == 4\n"
    assert judge(RIGHT, check + "check(double)").passed
    assert not judge("def double(x): return x", check + "check(double)").passed
    with pytest.raises(UsageError, match=r"runs no test.*check\(<function>\)"):
        judge(RIGHT, check)


@pytest.mark.parametrize("reference", ["", "x = 1", "assert (", "import os"])
@jailed
def test_a_reference_that_tests_nothing(reference: str) -> None:
    with pytest.raises(UsageError):
        judge(RIGHT, reference)


@jailed
def test_programs_die_with_a_killed_run(tmp_path: Path) -> None:
    row = {"answer": "import time\ntime.sleep(3600)", "reference": TEST}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    run = subprocess.Popen(
        [*COMMAND, "check", "code", str(tmp_path / "rows.jsonl"), "--allow-code-execution"]
    )
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while len(children) < 2 and time.monotonic() < deadline:  # keeper and prisoner
        time.sleep(0.05)
        children = [
            c for c in psutil.Process(run.pid).children(recursive=True) if "jail.py" in str(c.cmdline())
        ]
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(children) == 2
    gone, alive = psutil.wait_procs(children, timeout=8)
    assert alive == [] and len(gone) == 2


def test_a_system_without_namespaces_refuses() -> None:
    script = """
        from forgetless.curator.verifiers import jail
        from forgetless.curator.verifiers.verify import verifier
        refused = jail.REFUSED[jail.MACHINE]
        jail.REFUSED[jail.MACHINE] = {"unshare": refused["unshare"]}
        jail.call("prctl", jail.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        jail.refuse_calls()
        verifier("code", allow_code_execution=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no safe place to run programs (unshare: Operation not permitted) → " in done.stderr
