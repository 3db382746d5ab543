"""Runs programs that nobody trusts in a jail of Linux namespaces; see `jail.py` for what holds them."""

import functools
import select
import subprocess
import sys
from pathlib import Path

from forgetless.curator.verifiers import jail
from forgetless.schemas.errors import UsageError

SPARE_SECONDS = 20.0
"""What starting and ending may take on top of a program's own time."""
WAY_OUT = (
    "it needs Linux 5.12 or newer with namespaces: run as root, or let users make them "
    "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
    "user.max_user_namespaces=10000); a container needs --cap-add SYS_ADMIN and --security-opt seccomp=unconfined"
)
_PROBE = """
import os
for path in ("/etc/passwd", "/proc/self", "/sys/kernel", "/dev/tty", "/tmp"):
    assert not os.path.exists(path), path
for attempt in (os.fork, lambda: open("/file", "w"), lambda: __import__("socket").socket()):
    try:
        attempt()
    except OSError:
        continue
    assert False, attempt
"""


def run_tests(program: str, tests: str) -> tuple[bool, str]:
    """Whether `program`, then `tests`, run to the end, and if not why. Python source both; any thread may call.

    Raises:
        UsageError: this system offers nothing to hold the program with.
    """
    assert_available()
    how, why = _jailed(program, tests)
    return how == jail.PASSED, why


@functools.cache
def assert_available() -> None:
    """Try once what a program could reach.

    Raises:
        UsageError: this system offers nothing to hold a program with.
    """
    if sys.platform != "linux":
        raise UsageError("programs can be run safely on Linux only", "verify on a Linux machine")
    how, why = _jailed(_PROBE, "")
    if how != jail.PASSED:
        raise UsageError(f"this system offers no safe place to run programs ({why})", WAY_OUT)


def _jailed(program: str, tests: str) -> tuple[str, str]:
    """How it ended (one of jail's three words) and why. All processes are gone when this returns."""
    command = [sys.executable, "-I", "-S", "-B", str(Path(jail.__file__))]
    sources = program.encode(errors="replace"), tests.encode(errors="replace")
    job = b"%d %d\n" % (len(sources[0]), len(sources[1])) + b"".join(sources)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={}, cwd="/", start_new_session=True,
    ) as keeper:  # fmt: skip
        assert keeper.stdin and keeper.stdout
        try:
            keeper.stdin.write(job)
            keeper.stdin.flush()
            watch = select.poll()
            watch.register(keeper.stdout)
            said = keeper.stdout.read() if watch.poll((jail.WALL_SECONDS + SPARE_SECONDS) * 1000) else b""
        except BrokenPipeError:
            said = b""
        finally:
            _end(keeper)
    how, _, why = said.decode().partition(" ")
    return (how, why) if how else (jail.UNAVAILABLE, "its process died")


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """A keeper whose stdin closes kills its prisoner and leaves; one that does not is killed."""
    assert keeper.stdin
    try:
        keeper.stdin.close()
        keeper.wait(SPARE_SECONDS)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        keeper.kill()
