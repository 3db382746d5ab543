"""Progress as a program reads it, and as people do where there is no terminal."""

import json
from typing import Any

import pytest

from forgetless.curator import progress
from forgetless.curator.progress import Progress, note


def said(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """What went to stderr; stdout is data's."""
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """At once, then once a second, the last always; speeds as numbers."""
    monkeypatch.setenv("FORGETLESS_PROGRESS", "json")
    with Progress("bos", 10, 2) as bar:
        bar.advance(1)
        clock[0] = 1.5
        bar.advance(1, tokens_per_second=1234.5)
        bar.advance(1, "loss 0.1")
        note("a\nb")
        bar.advance(5)
    lines = [json.loads(line) for line in said(capsys)]
    assert lines == [
        {"progress": {"label": "bos", "done": 2, "total": 10, "note": ""}},
        {
            "progress": {
                "label": "bos", "done": 4, "total": 10, "note": "1,234 tok/s", "tokens_per_second": 1234.5,
            }
        },
        {"note": "a\nb"},
        {"progress": {"label": "bos", "done": 10, "total": 10, "note": "loss 0.1", "tokens_per_second": 1234.5}},
    ]  # fmt: skip


def test_text(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress("bos", 2000) as bar:
        bar.advance(1)
        clock[0] = 6.0
        bar.advance(999, tokens_per_second=1234.0)
        note("so")
        bar.advance(1000)
    assert said(capsys) == ["bos: 1,000 of 2,000 1,234 tok/s", "so", "bos: 2,000 of 2,000 1,234 tok/s"]
    with Progress("nothing", 0):
        pass
    assert said(capsys) == []


def test_without_a_with_only_a_program_is_told_of_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    bar = Progress("beside another", 3)
    bar.advance(3)
    bar.end()
    assert said(capsys) == []
    monkeypatch.setenv("FORGETLESS_PROGRESS", "json")
    bar.end()
    assert [json.loads(line)["progress"]["done"] for line in said(capsys)] == [3]
