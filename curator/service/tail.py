"""The log of a job's process: lines become events, and lines for people."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forgetless.curator.service.ledger import Progress, Type

READ_BYTES = 1_000_000
"""At most, at a time."""
LINE_CHARACTERS, GROUP_CHARACTERS = 2_000, 16_000
"""Of a line, and of lines that came together; the file holds all of it."""
EVENTS = 40
"""At most, of what is read at a time."""
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)

Told = tuple[Type, Any]
"""An event that has no number yet."""


class Tail:
    """Reads a file that grows, from where the ledger says that it was read."""

    def __init__(self, path: Path, offset: int) -> None:
        self.offset = offset
        """Bytes that have become events."""
        self.is_behind = False
        """There is more to read already."""
        self._path = path

    def read(self, whole: bool = False) -> list[Told]:
        """Events of the lines that have come since; of an unfinished last one too, if this is the `whole` file."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(READ_BYTES)
        self.is_behind = len(data) == READ_BYTES
        end = data.rfind(b"\n") + 1
        if (whole and not self.is_behind) or (self.is_behind and not end):
            end = len(data)
        self.offset += end
        return _events(data[:end].split(b"\n"))


def readable(path: Path) -> Iterator[str]:
    """A log's lines as people read them."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while line := file.readline(READ_BYTES):
            kind, said = _parsed(line)
            if kind == "progress":
                yield f"{said['label']}: {said['done']:,} of {said['total']:,} {said['note']}".rstrip() + "\n"
            elif said:
                yield said + "\n"


def last_error(path: Path) -> str | None:
    """What a command said last of what went wrong; else its last line."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        parsed = [_parsed(line) for line in file.read().splitlines()]
    lines = [said for kind, said in parsed if kind == "log" and said]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else lines[-1] if lines else None


def _events(lines: Iterable[bytes]) -> list[Told]:
    """Lines that follow each other become one event, and of a bar only the newest state counts."""
    events: list[Told] = []
    group: list[str] = []
    for kind, said in map(_parsed, lines):
        if kind == "log":
            group += [said] if said else []
            continue
        _close(group, events)
        if events and events[-1][0] == "progress" and events[-1][1]["label"] == said["label"]:
            events.pop()
        events.append(("progress", said))
    _close(group, events)
    if len(events) > EVENTS:
        left_out: Told = ("log", {"line": f"… {len(events) - EVENTS:,} more events are in the log"})
        events = [*events[: EVENTS // 2], left_out, *events[-EVENTS // 2 :]]
    return events


def _close(group: list[str], events: list[Told]) -> None:
    """Make an event of the lines in `group`, and empty it."""
    if group:
        text: list[str] = []
        size = 0
        for line in group:
            size += len(line) + 1
            if size > GROUP_CHARACTERS:
                text.append(f"… {len(group) - len(text):,} more lines are in the log")
                break
            text.append(line)
        events.append(("log", {"line": "\n".join(text)}))
        group.clear()


def _parsed(line: bytes) -> tuple[Type, Any]:
    """Progress as it was printed for us, or a line of text."""
    if line.startswith((b'{"progress"', b'{"note"')):
        try:
            said = json.loads(line)
            if "note" in said:
                return "log", _text(str(said["note"]))
            progress = Progress.model_validate(said["progress"])
            return "progress", progress.model_copy(
                update={"label": _text(progress.label), "note": _text(progress.note)}
            ).model_dump(mode="json", exclude_none=True)
        except (ValueError, KeyError, RecursionError, ValidationError):
            pass
    return "log", _text(line.decode(errors="replace"))


def _text(line: str) -> str:
    """What stands in the end where a line was written over; without colours; not endless."""
    shown = [part for part in line.rstrip("\r\n").split("\r") if part.strip()][-1:]
    text = _CONTROL.sub("", "".join(shown).replace("\n", " ")).rstrip()
    return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + "…"
