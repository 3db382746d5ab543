"""The demo of self-made targets, made small: it runs whole, and goes on where it was."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = [
    f"--set={key}"
    for key in (
        "engine={kind: transformers}", "writers.teacher.engine={kind: transformers}", "steps.human.limit=4",
        "steps.self_output.samples=2",
    )
]  # fmt: skip


def test_targets_are_made_compared_and_drawn_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("demo", "targets", *SMALL)
    assert done.returncode == 0, done.stderr
    for kind in ("ground truth", "teacher", "paraphrase", "minimum change", "self-output"):
        assert f"\n{kind} " in done.stdout
    for step in ("teacher", "paraphrase", "minimum_change", "self_output"):
        assert f"\n{step} " in done.stdout.split("What became of every row")[1]
    assert done.stdout.endswith("picture: demo-targets/compare-sums.png\n")
    assert (tmp_path / "demo-targets" / "compare-sums.png").is_file()
    again = cli("demo", "targets", *SMALL)
    assert "nothing to do: everything the recipe names is there" in again.stdout
    assert again.stdout.split("2. What")[1] == done.stdout.split("2. What")[1]


def test_options_stand_behind_what_they_are_for(cli: Cli) -> None:
    done = cli("demo", "--folder", "x", "targets")
    assert done.returncode == 2
    assert "options stand behind `targets`" in done.stderr
