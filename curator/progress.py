"""Progress of long work on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 5.0


class Progress:
    """`with Progress("bos", total) as progress: progress.advance(3, "1,200 tok/s")`."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done, self.note = label, total, done, ""
        self._bar: Bar | None = None
        self._last_line, self._said = time.monotonic(), done

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, note="")
        return self

    def advance(self, count: int, note: str | None = None) -> None:
        """`count` more are done; `note` replaces the text behind the bar."""
        self.done += count
        self.note = self.note if note is None else note
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=self.note)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self.done != self._said:
            self._line()

    def _line(self) -> None:
        self._last_line, self._said = time.monotonic(), self.done
        print(
            f"{self.label}: {self.done:,} of {self.total:,} {self.note}".rstrip(), file=sys.stderr, flush=True
        )


def note(text: str) -> None:
    """A line for people, on stderr, so that stdout stays data."""
    print(text, file=sys.stderr, flush=True)
