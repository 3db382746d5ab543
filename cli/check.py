"""`forgetless check`: what a verifier says of answers whose references you know."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgetless.curator.verifiers.verify import Verifier


@dataclass(frozen=True)
class Checked:
    """One line of the file."""

    row: int
    """Its number, from 1."""
    id: str | None
    verifier: str
    passed: bool | None
    """None if there is no verdict: a broken line, or a reference that the verifier cannot use."""
    score: float | None
    reason: str


@click.command()
@click.argument("verifier")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, the passed ones too.")
@click.option("--allow-code-execution", is_flag=True, help="Let `code` run the answers, in a sandbox.")
@click.pass_context
def check(
    context: click.Context, verifier: str, file: Path, as_json: bool, allow_code_execution: bool
) -> None:
    """Try a verifier on a JSONL file of {answer, reference} rows, with an `id` if you like.

    VERIFIER is choice, code, exact, json, math, numeric, refusal or regex. Prints the rows that fail and why.
    Exit code 3 if a row could not be used.
    """
    from forgetless.curator.progress import note
    from forgetless.curator.verifiers.verify import verifier as verifier_called
    from forgetless.schemas.errors import TOO_MANY_REJECTS

    judge = verifier_called(verifier, allow_code_execution)
    checked = _check_all(judge, _lines(file), verifier)
    counts = Counter(row.passed for row in checked)
    if as_json:
        for row in checked:
            click.echo(json.dumps(asdict(row)))
        note(_summary(counts))
    else:
        _print_failures(checked)
        click.echo(_summary(counts))
    if counts[None]:
        context.exit(TOO_MANY_REJECTS)


def _lines(file: Path) -> list[tuple[int, bytes]]:
    """Every line that is not blank, and its number."""
    from forgetless.schemas.errors import UsageError

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{str(file)!r}: {error.strerror}", "name a JSONL file") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UsageError(f"{str(file)!r} holds no row", 'write lines of {"answer": …, "reference": …}')
    return numbered


def _check_all(judge: "Verifier", lines: list[tuple[int, bytes]], name: str) -> list[Checked]:
    """In the file's order; several at a time, since programs run in processes of their own."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from forgetless.curator.progress import Progress

    checked = []
    with Progress(name, len(lines)) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        for row in pool.map(lambda line: _check(judge, name, *line), lines):
            checked.append(row)
            progress.advance(1)
    return checked


def _check(judge: "Verifier", verifier: str, number: int, line: bytes) -> Checked:
    from forgetless.schemas.errors import UsageError

    name = None
    try:
        row = json.loads(line)
        name = None if row.get("id") is None else _text(row["id"])
        verdict = judge(_text(row["answer"]), _text(row["reference"]))
        return Checked(number, name, verifier, verdict.passed, verdict.score, _text(verdict.reason))
    except UsageError as error:
        reason = str(error)
    except KeyError as error:
        reason = f"no {error.args[0]!r}"
    except (ValueError, AttributeError, RecursionError):
        reason = "not a JSON object"
    return Checked(number, name, verifier, None, None, _text(reason))


def _text(value: Any) -> str:
    """Numbers and schemas may be written as such; half a surrogate pair can be read but not printed."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text.encode(errors="replace").decode()


def _summary(counts: Counter[bool | None]) -> str:
    judged = counts[True] + counts[False]
    share = f" ({counts[True] / judged:.1%})" if judged else ""
    unusable = f", {counts[None]:,} unusable" if counts[None] else ""
    return f"{counts[True]:,} of {judged:,} passed{share}{unusable}"


def _print_failures(checked: list[Checked]) -> None:
    import pyarrow as pa

    from forgetless.cli.table import print_rows

    rows = [row for row in checked if not row.passed]
    if not rows:
        return
    table = pa.table(
        {
            "row": [row.row for row in rows],
            "id": pa.array([row.id for row in rows], pa.string()),
            "verdict": ["unusable" if row.passed is None else "failed" for row in rows],
            "reason": [row.reason for row in rows],
        }
    )
    print_rows(table if any(row.id for row in rows) else table.drop_columns("id"), "--json")
    click.echo()
