"""The folder that a service keeps its things in: one service has it at a time."""

import fcntl
import os
from pathlib import Path

from forgetless.schemas.errors import UsageError


def lock_home(home: Path) -> int:
    """The home's lock, an open file: held until it is closed, or this process dies.

    Raises:
        UsageError: another service has this home.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageError(
            f"another service runs with --home {str(home)!r}", "stop it, or name another home"
        ) from None
    return lock


def check_home(home: Path) -> None:
    """UsageError where another service has it: told before anything of a service is made."""
    os.close(lock_home(home))
