"""Reading what users bring: JSONL, JSON, CSV, Parquet and Hugging Face dataset folders, a row at a time."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.schemas.base import digest
from forgetless.schemas.errors import RecipeError


@dataclass(frozen=True)
class SourceRow:
    """One row of a source, or the reason why it is none."""

    where: str
    """File and line, or split and row."""
    raw: str
    """The row as text: equal rows have equal text."""
    values: dict[str, Any] | None
    """Column → value; None for a broken row."""
    problem: str = ""
    """What is wrong with a broken row."""


def read_rows(path: Path) -> Iterator[SourceRow]:
    """Rows of the file or dataset folder at `path`, in order. A broken line is a row with a problem.

    Raises:
        RecipeError: there is nothing at `path`, or nothing that can be read.
    """
    if path.is_dir():
        yield from _read_folder(path)
    elif not path.is_file():
        raise RecipeError(f"data file {str(path)!r} does not exist", "correct `path`")
    elif path.suffix == ".parquet":
        yield from _read_parquet(path)
    elif path.suffix == ".csv":
        yield from _read_csv(path)
    elif path.suffix == ".json":
        yield from _read_json(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _read_lines(path)
    else:
        raise RecipeError(
            f"data file {str(path)!r} has an unknown ending", "use .jsonl, .json, .csv or .parquet"
        )


def keyed_rows(path: Path) -> Iterator[tuple[str, SourceRow]]:
    """The rows, each with a key of its own that holds wherever it stands: its text, and how often it came before."""
    seen: dict[str, int] = {}
    for row in read_rows(path):
        text = digest(row.raw)
        times = seen[text] = seen.get(text, -1) + 1
        yield f"{text}#{times}", row


def encodable(text: str) -> bool:
    """Whether `text` is UTF-8: JSON can spell half a character, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_lines(path: Path) -> Iterator[SourceRow]:
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            where = f"{path.name}:{number}"
            raw = line.decode(errors="replace").strip()
            try:
                value = json.loads(line)
            except UnicodeDecodeError:
                yield SourceRow(where, raw, None, "is not UTF-8")
            except (ValueError, RecursionError) as error:
                yield SourceRow(where, raw, None, f"is not JSON: {error}")
            else:
                good = isinstance(value, dict)
                yield SourceRow(where, raw, value if good else None, "" if good else "is not a JSON object")


def _read_json(path: Path) -> Iterator[SourceRow]:
    try:
        rows = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{str(path)!r} is not JSON: {error}", "one object per line is read from .jsonl"
        ) from None
    if not isinstance(rows, list):
        raise RecipeError(
            f"{str(path)!r} is not a JSON list of objects", "one object per line is read from .jsonl"
        )
    for number, row in enumerate(rows):
        good = isinstance(row, dict)
        problem = "" if good else "is not a JSON object"
        yield SourceRow(f"{path.name}[{number}]", _canonical(row), row if good else None, problem)


def _read_csv(path: Path) -> Iterator[SourceRow]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        csv.field_size_limit(1 << 30)  # long documents are no error
        reader = csv.DictReader(handle)
        for row in reader:
            where = f"{path.name}:{reader.line_num}"
            extra = None in row
            raw = _canonical({str(k): v for k, v in row.items()})
            yield SourceRow(
                where, raw, None if extra else dict(row), "has more fields than the header" if extra else ""
            )


def _read_parquet(path: Path) -> Iterator[SourceRow]:
    import pyarrow.lib
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(1000):
            for row in batch.to_pylist():
                yield SourceRow(f"{path.name}[{number}]", _canonical(row), row)
                number += 1
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise RecipeError(f"{str(path)!r} is not readable Parquet: {error}", "write it again") from None


def _read_folder(path: Path) -> Iterator[SourceRow]:
    import datasets

    datasets.disable_progress_bars()
    try:
        if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
            data = datasets.load_from_disk(str(path))
        else:
            data = datasets.load_dataset(str(path))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise RecipeError(f"folder {str(path)!r} is no dataset: {first}", "name a file in it") from None
    splits = data if isinstance(data, dict) else {"train": data}
    for split, rows in splits.items():
        for number, row in enumerate(rows):
            yield SourceRow(f"{path.name}/{split}[{number}]", _canonical(row), dict(row))


def _canonical(row: Any) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return text.encode(errors="replace").decode()
