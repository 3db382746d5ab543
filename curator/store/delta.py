"""One Delta table: parts named by their checksum, one transaction each, on disk before it is acknowledged."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, PostCommitHookProperties, create_table_with_add_actions

from forgetless.schemas.errors import DiskFullError, StoreError

_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
"""deltalake would drop log files older than 30 days, and with them the versions that snapshots name."""


class Table:
    """A Delta table of a fixed Arrow layout at `path`: parts of row groups, each part sorted by one column or not."""

    def __init__(
        self, path: Path, schema: pa.Schema, row_group: int = 1000, sorted_by: str | None = None
    ) -> None:
        self.path, self.schema, self.row_group, self.sorted_by = path, schema, row_group, sorted_by

    def create(self) -> None:
        """Make the table with one empty part, so that a reader always has a file with the layout."""
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            action = self._write_part(self.schema.empty_table())
            create_table_with_add_actions(
                str(self.path),
                DeltaSchema.from_arrow(self.schema),
                [action],
                mode="ignore",
                post_commithook_properties=_KEEP_LOG,
            )
            self._sync_log()

    def append(self, rows: pa.Table) -> int:
        """Commit `rows` as one part in one transaction; returns the table's new version.

        Parts are content-addressed: writing equal rows twice names the same file, and the name is the
        checksum that `verify` holds against the bytes.
        """
        with disk_errors(self.path):
            action = self._write_part(rows.select(self.schema.names).cast(self.schema))
            table = DeltaTable(self.path)
            layout = DeltaSchema.from_arrow(self.schema)
            table.create_write_transaction([action], "append", layout, post_commithook_properties=_KEEP_LOG)
            self._sync_log()
            table.update_incremental()
            return int(table.version())

    def join(self, parts: Sequence[Sequence[Path]]) -> int:
        """Commit one part in the place of each group of `parts`, all in one transaction; returns the new version.

        The old files stay: older versions name them. The caller holds the store's lock.
        """
        with disk_errors(self.path):
            actions = []
            for group in parts:
                rows = pa.concat_tables(pq.read_table(part, partitioning=None) for part in group)
                add = self._write_part(rows.select(self.schema.names).cast(self.schema))
                actions += [{"remove": _removal(part)} for part in group if part.name != add.path]
                actions += [{"add": _addition(add)}]
            version = self.version() + 1
            self._commit(version, actions)
            self._sync_log()
            return version

    def _commit(self, version: int, actions: Sequence[dict[str, Any]]) -> None:
        """Write a log file. deltalake's own transactions add parts, or replace all of them, and no other choice."""
        now = int(time.time() * 1000)
        info = {"timestamp": now, "operation": "OPTIMIZE", "operationParameters": {}}
        lines = [json.dumps(action) for action in ({"commitInfo": info}, *actions)]
        target = self.path / "_delta_log" / f"{version:020}.json"
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with temporary.open("w") as handle:
                handle.write("\n".join(lines) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
            os.link(temporary, target)  # unlike a rename, it fails where that version is there already
        finally:
            temporary.unlink(missing_ok=True)

    def version(self) -> int:
        """The newest committed version."""
        return int(self._open(None).version())

    def files(self, version: int | None = None) -> list[str]:
        """Absolute paths of the committed parts at `version` (the newest if None), the last committed first."""
        folder = self.path.absolute()
        # Of a URI only the name is used: the rest has spaces and the like escaped.
        return [str(folder / uri.rpartition("/")[2]) for uri in self._open(version).file_uris()]

    def read(self) -> pa.Table:
        """All rows; for the small tables."""
        return pa.concat_tables(pq.read_table(part, partitioning=None) for part in self.files())

    def _open(self, version: int | None) -> DeltaTable:
        try:
            return DeltaTable(self.path, version=version)
        except DeltaError as error:
            problem = f"table {str(self.path)!r} cannot be opened: {_one_line(error)}"
            raise StoreError(problem, "restore its `_delta_log` from a copy") from None

    def _write_part(self, rows: pa.Table) -> AddAction:
        if self.sorted_by:
            rows = rows.sort_by(self.sorted_by)
        sink = pa.BufferOutputStream()
        # Floats hardly repeat: splitting their bytes beats a dictionary; ids and names are the reverse. Bytes per
        # token of `bench store`, zstd level 1 in any case (levels 3 to 9 save under 1 % at 2 to 10 times the time):
        #              dictionary   split   plain   delta
        # token ids      1.83       1.80    2.18    2.19
        # log-probs      5.03       3.49    3.79
        # entropy        5.00       3.44    3.76
        # ranks          0.49       0.39    0.46    1.12
        # Reading takes 7 to 13 ms per million tokens whichever it is. Split integers are smaller still, but DuckDB
        # before 2.0 cannot read them; what is written here pyarrow 26, polars 2.1 and DuckDB 1.1, 1.4 and 2.0 read.
        leaves = [_leaf(field) for field in rows.schema]
        floats = [path for path, kind in leaves if pa.types.is_floating(kind)]
        pq.write_table(
            rows, sink, compression="zstd", row_group_size=self.row_group, use_byte_stream_split=floats,
            use_dictionary=[path for path, kind in leaves if not pa.types.is_floating(kind)],
        )  # fmt: skip
        data = sink.getvalue()
        name = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}.parquet"
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.rename(self.path / name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(self.path)
        stats = json.dumps({"numRecords": rows.num_rows})
        return AddAction(name, len(data), {}, int(time.time() * 1000), True, stats)

    def _sync_log(self) -> None:
        """deltalake never calls fsync; without it a commit survives a kill but not a power loss."""
        newest = max((self.path / "_delta_log").glob("*.json"))
        _sync(newest)
        _sync(newest.parent)


def checksum(part: Path) -> str:
    """What a part's name must be: 128-bit BLAKE2b of its bytes."""
    content = hashlib.blake2b(digest_size=16)
    with part.open("rb") as handle:
        while block := handle.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def _addition(action: AddAction) -> dict[str, Any]:
    """A part in Delta's log. `dataChange` is false: the rows were there before."""
    return {
        "path": action.path, "partitionValues": {}, "size": action.size,
        "modificationTime": action.modification_time, "dataChange": False, "stats": action.stats,
    }  # fmt: skip


def _removal(part: Path) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {"path": part.name, "deletionTimestamp": now, "dataChange": False, "size": part.stat().st_size}


def _leaf(field: pa.Field) -> tuple[str, Any]:
    path, kind = field.name, field.type
    while pa.types.is_list(kind):
        path, kind = f"{path}.list.element", kind.value_type
    return path, kind


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space" from Python, Arrow or deltalake into DiskFullError."""
    try:
        yield
    except (OSError, DeltaError) as error:
        full = getattr(error, "errno", None) in (ENOSPC, EDQUOT) or "No space left" in str(error)
        if full:
            raise DiskFullError(
                f"no space left on the disk of {str(path)!r}; everything committed is kept",
                "free some space and run the same command again",
            ) from None
        raise StoreError(
            f"{str(path)!r} cannot be written: {_one_line(error)}",
            "make the folder writable, or choose another `store`",
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
