"""Progress of long work on stderr: a bar on a terminal, a line every few seconds elsewhere, JSON for the service."""

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS, JSON_SECONDS = 5.0, 1.0


class Progress:
    """`with Progress("bos", total) as progress: progress.advance(3, tokens_per_second=1200)`."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done, self.note = label, total, done, ""
        self.tokens_per_second: float | None = None
        self._bar: Bar | None = None
        self._seconds = JSON_SECONDS if _as_json() else LINE_SECONDS
        self._last_line, self._said = time.monotonic(), done

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if _as_json():
            self._line()
        elif console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, note="")
        return self

    def advance(self, count: int, note: str | None = None, tokens_per_second: float | None = None) -> None:
        """`count` more are done; a note, or a speed, replaces the text behind the bar."""
        self.done += count
        if tokens_per_second is not None:
            self.tokens_per_second, note = tokens_per_second, f"{tokens_per_second:,.0f} tok/s"
        self.note = self.note if note is None else note
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=self.note)
        elif time.monotonic() - self._last_line >= self._seconds:
            self._line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self.done != self._said:
            self._line()

    def end(self) -> None:
        """Where there is no `with`, since another's bar is on the terminal: say how far it came, to a program."""
        if _as_json() and self.done != self._said:
            self._line()

    def _line(self) -> None:
        self._last_line, self._said = time.monotonic(), self.done
        if _as_json():
            said = {"label": self.label, "done": self.done, "total": self.total, "note": self.note}
            speed = {} if self.tokens_per_second is None else {"tokens_per_second": self.tokens_per_second}
            _write_json({"progress": said | speed})
        else:
            _write(f"{self.label}: {self.done:,} of {self.total:,} {self.note}".rstrip())


def note(text: str) -> None:
    """A line for people, on stderr, so that stdout stays data."""
    if _as_json():
        _write_json({"note": text})
    else:
        _write(text)


def _as_json() -> bool:
    """Whether a program reads it."""
    return os.environ.get("FORGETLESS_PROGRESS") == "json"


def _write_json(said: dict[str, Any]) -> None:
    _write(json.dumps(said))


def _write(line: str) -> None:
    """In one piece: several processes may write to the same log."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
