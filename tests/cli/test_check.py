"""`forgetless check`: a verifier on a file of answers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
GOOD = '{"answer": "I get $1,234.00", "reference": "#### 1234"}\n'
WRONG = '{"id": "q2", "answer": "12", "reference": "13"}\n'


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Passed, failed, passed, broken, blank, no reference, no object, unusable reference."""
    file = tmp_path / "rows.jsonl"
    broken = b'broken\n\n{"answer": "x"}\n[1]\n\xff\n'
    unusable = '{"id": 7, "answer": "5", "reference": "none\\u001b[J"}\n'
    file.write_bytes(
        (GOOD + WRONG + '{"answer": 42, "reference": 42.0}\n').encode() + broken + unusable.encode()
    )
    return file


def test_failures_with_their_reasons_and_a_summary(cli: Cli, rows: Path) -> None:
    done = cli("check", "numeric", rows)
    assert done.returncode == 3
    header, _, *failures, blank, summary = done.stdout.splitlines()
    assert header.split() == ["row", "id", "verdict", "reason"]
    assert [line.split()[:3] for line in failures] == [
        ["2", "q2", "failed"], ["4", "NULL", "unusable"], ["6", "NULL", "unusable"], ["7", "NULL", "unusable"],
        ["8", "NULL", "unusable"], ["9", "7", "unusable"],
    ]  # fmt: skip
    assert failures[0].rstrip().endswith("12 is not 13")
    assert "holds no number → use the verifier exact or regex" in failures[-1]
    assert "\x1b" not in done.stdout
    assert (blank, summary) == ("", "2 of 3 passed (66.7%), 5 unusable")
    assert done.stderr == "numeric: 8 of 8\n"


def test_json_is_a_line_for_every_row(cli: Cli, rows: Path) -> None:
    done = cli("check", "numeric", rows, "--json")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [line["passed"] for line in lines] == [True, False, True, None, None, None, None, None]
    assert lines[1] == {
        "row": 2, "id": "q2", "verifier": "numeric", "passed": False, "score": 0.0, "reason": "12 is not 13",
    }  # fmt: skip
    assert done.stderr.endswith("2 of 3 passed (66.7%), 5 unusable\n")


def test_all_usable_ends_with_zero(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(GOOD)
    done = cli("check", "numeric", file)
    assert (done.returncode, done.stdout) == (0, "1 of 1 passed (100.0%)\n")
    file.write_text(GOOD + WRONG)
    assert cli("check", "numeric", file).returncode == 0


def test_a_terminal_gets_what_fits(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = json.dumps({"answer": "x " * 500, "reference": "y"})
    file.write_text(f"{row}\n" * 250)
    done = cli("check", "exact", file, FORCE_COLOR="1", COLUMNS="60")
    assert all(len(click.unstyle(line).rstrip()) <= 60 for line in done.stdout.splitlines())
    assert "50 more rows: --json prints all" in done.stderr
    assert done.stdout.endswith("0 of 250 passed (0.0%)\n")


def test_half_a_character_stops_nothing(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "\\ud83d", "answer": "\\ud83d", "reference": "x"}\n')
    for form in ([], ["--json"]):
        done = cli("check", "exact", file, *form)
        assert done.returncode == 0 and "'?' is not 'x'" in done.stdout


def test_references_may_be_json(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"answer": {"a": 1}, "reference": {"type": "object"}}\n{"answer": "1", "reference": null}\n'
    )
    assert cli("check", "json", file).stdout == "2 of 2 passed (100.0%)\n"


@pytest.mark.parametrize(
    ("verifier", "text", "message"),
    [
        ("numerik", GOOD, "error: there is no verifier 'numerik' → did you mean 'numeric'?\n"),
        ("code", GOOD, "or give --allow-code-execution\n"),
        ("exact", "\n", "write lines of"),
        ("exact", None, "No such file or directory → name a JSONL file\n"),
    ],
)
def test_wrong_usage(cli: Cli, tmp_path: Path, verifier: str, text: str | None, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    if text is not None:
        file.write_text(text)
    done = cli("check", verifier, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_judge_needs_a_recipe(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(GOOD)
    done = cli("check", "judge", tmp_path / "rows.jsonl")
    assert done.returncode == 2 and "give --recipe RECIPE" in done.stderr


def test_a_judge_says_yes_or_no_of_every_row(cli: Cli, tmp_path: Path, demo_model: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(GOOD + WRONG + "broken\n")
    recipe = {"store": "store", "model": {"path": str(demo_model)}, "engine": {"kind": "transformers"}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    done = cli("check", "judge", tmp_path / "rows.jsonl", "--recipe", tmp_path / "recipe.yaml", "--json")
    assert done.returncode == 3
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["passed"] for row in said][2:] == [None]
    assert {row["reason"] for row in said[:2]} <= {"the judge says 'yes'", "the judge says 'no'"}
    assert not (tmp_path / "store").exists()
