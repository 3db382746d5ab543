"""Records as a dataset that other trainers load."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from forgetless.curator.store import Store
from forgetless.curator.store.delta import disk_errors
from forgetless.schemas.errors import UsageError
from forgetless.train.card import ExportReport, card
from forgetless.train.reader import read_examples

MANIFEST = "forgetless.json"
ROW_GROUP = 1000


def export(
    store: Store, to: Path, format: str, condition: str = "true", snapshot: int | None = None
) -> ExportReport:
    """Write the records that meet an SQL condition into the folder `to`, with a dataset card.

    The folder appears when it is complete. One that an export wrote before is replaced.

    Raises:
        UsageError: no such record, a wrong condition, or a folder with files of others.
    """
    to = to.resolve()
    _check_replaceable(to)
    snapshot = store.newest_snapshot() if snapshot is None else snapshot
    form = FORMATS[format]
    selected = f"SELECT * FROM records WHERE ({condition}\n)"
    carried = f"SELECT * FROM ({selected}) WHERE {form.carries} ORDER BY id"
    counts = store.query(
        "SELECT count(*) AS n, coalesce(sum(list_sum(list_transform(target_spans,"
        f' lambda s: s."end" - s.start))), 0)::BIGINT AS target_tokens FROM ({carried})',
        snapshot,
    ).to_pylist()[0]
    wanted = store.query(f"SELECT count(*) AS n FROM ({selected})", snapshot)["n"][0].as_py()
    if not counts["n"]:
        raise UsageError(
            f"none of {wanted:,} selected records can be exported as {format}",
            "correct --where, or choose another --format",
        )
    report = ExportReport(
        path=str(to),
        format=format,
        snapshot=snapshot,
        records=counts["n"],
        left_out=wanted - counts["n"],
        target_tokens=counts["target_tokens"],
    )
    text = card(store, report, form.file, selected, carried)
    with disk_errors(to):
        _write(report, text, lambda file: form.write(store, carried, snapshot, file))
    return report


def _write(report: ExportReport, text: str, write_data: Callable[[Path], None]) -> None:
    """Fill a folder beside the wanted one, then put it in its place."""
    to, form = Path(report.path), FORMATS[report.format]
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / form.file).parent.mkdir(parents=True)
        write_data(partial / form.file)
        (partial / "README.md").write_text(text)
        manifest = {"files": [form.file, "README.md", MANIFEST], **report.model_dump(exclude={"path"})}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if to.exists():
            shutil.rmtree(to)
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(to: Path) -> None:
    """UsageError where `to` is a file, or holds files that no export of ours wrote."""
    if to.is_file():
        raise UsageError(f"{str(to)!r} is a file", "name a folder with --to")
    files = {str(path.relative_to(to)) for path in to.rglob("*") if not path.is_dir()}
    ours = set(json.loads((to / MANIFEST).read_text()).get("files", [])) if MANIFEST in files else set()
    if files - ours:
        raise UsageError(
            f"{str(to)!r} holds files that no export wrote, {min(files - ours)!r} among them",
            "choose another folder with --to",
        )


def _write_trl(store: Store, carried: str, snapshot: int | None, file: Path) -> None:
    """Token rows: `input_ids`, `labels` (-100 outside targets), and which record a row is."""
    examples = read_examples(store, carried, snapshot)
    ids = pa.list_(pa.int32())
    schema = pa.schema([("id", pa.string()), ("kind", pa.string()), ("input_ids", ids), ("labels", ids)])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for first in range(0, len(examples), ROW_GROUP):
            part = examples[first : first + ROW_GROUP]
            rows = [{"id": e.id, "kind": e.kind, "input_ids": e.token_ids, "labels": e.labels} for e in part]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _write_messages(store: Store, carried: str, snapshot: int | None, file: Path) -> None:
    """One conversation per line: `messages`, and which record it is."""
    rows = store.query(f"SELECT id, kind, task, messages FROM ({carried})", snapshot)
    with file.open("w", encoding="utf-8") as handle:
        for batch in rows.to_batches(max_chunksize=ROW_GROUP):
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())


def _write_parquet(store: Store, carried: str, snapshot: int | None, file: Path) -> None:
    """The records as they are in the store."""
    pq.write_table(store.query(carried, snapshot), file, compression="zstd", row_group_size=ROW_GROUP)


class Format(NamedTuple):
    """A way of writing records."""

    write: Callable[[Store, str, int | None, Path], None]
    """(store, query, snapshot, file)"""
    file: str
    carries: str = "true"
    """SQL condition on the records that it can hold."""


FORMATS = {
    "trl": Format(_write_trl, "data/train.parquet"),
    "messages": Format(_write_messages, "data/train.jsonl", "len(messages) > 0"),
    "parquet": Format(_write_parquet, "data/train.parquet"),
}
