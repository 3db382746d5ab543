"""`forgetless check`: what a verifier says of answers whose references you know."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgetless.schemas.outcome import Verdict


@dataclass(frozen=True)
class Row:
    """One line of the file, or what is wrong with it."""

    number: int
    """From 1."""
    id: str | None = None
    prompt: str = ""
    answer: str = ""
    reference: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Checked:
    """What was made of one line."""

    row: int
    """Its number."""
    id: str | None
    verifier: str
    passed: bool | None
    """None if there is no verdict: a broken line, or a reference that the verifier cannot use."""
    score: float | None
    reason: str


Judge = Callable[[list[Row]], Iterator[tuple[int, "Verdict | str"]]]
"""Place and verdict of each row as they come, or why there is none."""


@click.command()
@click.argument("verifier")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, the passed ones too.")
@click.option("--allow-code-execution", is_flag=True, help="Let `code` run the answers, in a sandbox.")
@click.option("--recipe", type=click.Path(path_type=Path), help="For `judge`: the recipe with its model.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key of the recipe.")
@click.pass_context
def check(
    context: click.Context, verifier: str, file: Path, as_json: bool, allow_code_execution: bool,
    recipe: Path | None, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Try a verifier on a JSONL file of {answer, reference} rows, with an `id` if you like.

    VERIFIER is choice, code, exact, json, math, numeric, refusal, regex, or judge, which also reads `prompt`.
    Prints the rows that fail and why. Exit code 3 if a row could not be used.
    """
    from forgetless.curator.progress import note
    from forgetless.schemas.errors import TOO_MANY_REJECTS

    judge = _judge(recipe, overrides) if verifier == "judge" else _in_threads(verifier, allow_code_execution)
    rows = _rows(file)
    checked = _check_all(judge, rows, verifier)
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


def _rows(file: Path) -> list[Row]:
    """Every line that is not blank."""
    from forgetless.schemas.errors import UsageError

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{str(file)!r}: {error.strerror}", "name a JSONL file") from None
    rows = [_row(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UsageError(f"{str(file)!r} holds no row", 'write lines of {"answer": …, "reference": …}')
    return rows


def _row(number: int, line: bytes) -> Row:
    name = None
    try:
        row = json.loads(line)
        name = None if row.get("id") is None else _text(row["id"])
        return Row(number, name, _text(row.get("prompt")), _text(row["answer"]), _text(row["reference"]))
    except KeyError as error:
        return Row(number, name, problem=f"no {error.args[0]!r}")
    except (ValueError, AttributeError, RecursionError):
        return Row(number, name, problem="not a JSON object")


def _check_all(judge: Judge, rows: list[Row], name: str) -> list[Checked]:
    """In the file's order."""
    from forgetless.curator.progress import Progress

    usable = [row for row in rows if not row.problem]
    said: dict[int, Verdict | str] = {row.number: row.problem for row in rows if row.problem}
    with Progress(name, len(rows), len(said)) as progress:
        for place, verdict in judge(usable):
            said[usable[place].number] = verdict
            progress.advance(1)
    return [_checked(row, name, said[row.number]) for row in rows]


def _checked(row: Row, name: str, said: "Verdict | str") -> Checked:
    if isinstance(said, str):
        return Checked(row.number, row.id, name, None, None, _text(said))
    return Checked(row.number, row.id, name, said.passed, said.score, _text(said.reason))


def _in_threads(name: str, allow_code_execution: bool) -> Judge:
    """Several at a time, since programs run in processes of their own."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from forgetless.curator.verifiers.verify import verifier
    from forgetless.schemas.errors import UsageError

    function = verifier(name, allow_code_execution)

    def verdict(row: Row) -> "Verdict | str":
        try:
            return function(row.answer, row.reference)
        except UsageError as error:
            return str(error)

    def judge(rows: list[Row]) -> "Iterator[tuple[int, Verdict | str]]":
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from enumerate(pool.map(verdict, rows))

    return judge


def _judge(recipe: Path | None, overrides: tuple[str, ...]) -> Judge:
    """The judge of a recipe's step."""
    from forgetless.curator.recipes import load_recipe
    from forgetless.pipelines.judge_rows import JudgedRow, judge_rows
    from forgetless.schemas.errors import UsageError

    if recipe is None:
        raise UsageError("a judge is a model, which a recipe names", "give --recipe RECIPE")
    loaded = load_recipe(recipe, overrides)
    return lambda rows: judge_rows(loaded, [JudgedRow(row.prompt, row.answer, row.reference) for row in rows])


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
