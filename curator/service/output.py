"""What a job's process has left: its result, or why there is none."""

import json
from pathlib import Path
from typing import Any

from forgetless.curator.service.tail import last_error

RESULT_BYTES = 1_000_000


def result_of(output: Path) -> Any:
    """What a command printed as JSON: one value, or lines of them. None if that is not what it printed."""
    if not output.exists() or output.stat().st_size > RESULT_BYTES:
        return None
    text = output.read_text(errors="replace").strip()
    for read in (_value, lambda text: [_value(line) for line in text.splitlines()]):
        try:
            return read(text) if text else None
        except (ValueError, RecursionError):
            continue
    return None


def _value(text: str) -> Any:
    return json.loads(text, parse_constant=lambda _: None)  # NaN and infinity


def error_of(log_file: Path, code: int) -> str:
    """What went wrong, in one line."""
    said = last_error(log_file)
    if code < 0:
        return f"its process was killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    return said or f"it ended with exit code {code}"
