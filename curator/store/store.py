"""The store: a folder of Delta tables, opened, locked, appended to, snapshotted and queried."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from forgetless.curator.store.confined import connect_confined, one_select, sql_error
from forgetless.curator.store.delta import Table, disk_errors
from forgetless.curator.store.views import init_statements
from forgetless.schemas.base import Frozen
from forgetless.schemas.errors import StoreError, UsageError
from forgetless.schemas.tables import FORMAT, TABLES, TOKEN_STATS

MANIFEST = "forgetless.json"

LAYOUT: dict[str, dict[str, Any]] = {"token_stats": {"row_group": 500, "sorted_by": "min_logprob"}}
"""A query for the hardest tokens wants the lists of few records, and reads whole row groups: small ones, and few
of them where the records lie together."""


class Store:
    """Tables of `forgetless.schemas.tables` under one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables = {
            name: Table(path / name, schema, **LAYOUT.get(name, {})) for name, schema in TABLES.items()
        }

    @classmethod
    def open(cls, path: Path) -> "Store":
        """The store at `path`.

        Raises:
            StoreError: there is none, or a newer program made it.
        """
        manifest = path / MANIFEST
        if not manifest.is_file():
            raise StoreError(f"{str(path)!r} is no store", "`forgetless build RECIPE` makes one")
        try:
            made = int(json.loads(manifest.read_text())["format"])
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{str(manifest)!r} is damaged", f'restore it: {{"format": {FORMAT}}}') from None
        if made < FORMAT:
            raise StoreError(
                f"store {str(path)!r} has format {made}; this program reads {FORMAT}",
                "build it again in another folder, or read its Parquet files with any tool",
            )
        if made > FORMAT:
            raise StoreError(
                f"store {str(path)!r} has format {made}; this program reads {FORMAT}",
                "upgrade: pip install --upgrade forgetless",
            )
        return cls(path)

    @classmethod
    def create(cls, path: Path) -> "Store":
        """The store at `path`, made if there is none; the manifest comes last and says "complete"."""
        if (path / MANIFEST).is_file():
            return cls.open(path)
        if path.is_file() or (
            path.is_dir() and any(p.name not in (*TABLES, ".lock", f"{MANIFEST}.new") for p in path.iterdir())
        ):
            raise StoreError(
                f"{str(path)!r} is neither a store nor an empty folder", "choose another `store`"
            )
        store = cls(path)
        for table in store.tables.values():
            table.create()
        with disk_errors(path):
            (path / f"{MANIFEST}.new").write_text(json.dumps({"format": FORMAT}) + "\n")
            (path / f"{MANIFEST}.new").rename(path / MANIFEST)
        return store

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that writes; the lock dies with its process. StoreError if another has it."""
        with disk_errors(self.path):
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise StoreError(
                f"store {str(self.path)!r} is being written by another process", "wait for it, or stop it"
            ) from None
        try:
            yield
        finally:
            os.close(handle)

    def append(self, table: str, rows: pa.Table | Sequence[dict[str, Any] | Frozen]) -> None:
        """Commit rows to a table: one Parquet part, one transaction."""
        if not isinstance(rows, pa.Table):
            plain = [row.model_dump() if isinstance(row, Frozen) else row for row in rows]
            rows = pa.Table.from_pylist(plain, schema=TABLES[table])
        if rows.num_rows:
            self.tables[table].append(self._described(rows) if table == "token_stats" else rows)

    def _described(self, scores: pa.Table) -> pa.Table:
        """Scores with what the rows they belong to are; null where there is no such row."""
        sql = "SELECT id, kind, task, step, status = 'accepted' AS accepted FROM outcomes SEMI JOIN scores USING (id)"
        with self.connect(query=sql) as connection:
            connection.register("scores", scores.select(["id"]))
            found = connection.sql(sql).to_arrow_table()
        rows = {row["id"]: row for row in found.to_pylist()}
        ids = scores["id"].to_pylist()
        for name in ("kind", "task", "step", "accepted"):
            column, field = [rows.get(id, {}).get(name) for id in ids], TOKEN_STATS.field(f"record_{name}")
            place = scores.schema.get_field_index(field.name)
            scores = scores.set_column(place, field, pa.array(column, field.type))
        return scores

    def take_snapshot(self, run_id: str) -> int:
        """Name the present state of every table; written last in a run. The newest number is returned."""
        number = (self.newest_snapshot() or 0) + 1
        versions = {name: table.version() for name, table in self.tables.items() if name != "snapshots"}
        row = {
            "snapshot": number,
            "run_id": run_id,
            "versions": json.dumps(versions),
            "created": datetime.now(UTC),
        }
        self.append("snapshots", [row])
        return number

    def newest_is_current(self) -> bool:
        """Whether rows and scores are as they were when the newest snapshot was taken."""
        rows = self.tables["snapshots"].read().to_pylist()
        newest = max(rows, key=lambda row: row["snapshot"], default=None)
        versions = json.loads(newest["versions"]) if newest else {}
        return all(versions.get(name) == self.tables[name].version() for name in ("outcomes", "token_stats"))

    def newest_snapshot(self) -> int | None:
        """The highest snapshot number, or None."""
        return max(self.tables["snapshots"].read()["snapshot"].to_pylist(), default=None)

    def files(self, snapshot: int | None = None) -> dict[str, list[str]]:
        """Table → committed parts, at a snapshot or now."""
        versions: dict[str, int] = {}
        if snapshot is not None:
            rows = self.tables["snapshots"].read().to_pylist()
            found = [row for row in rows if row["snapshot"] == snapshot]
            if not found:
                raise UsageError(
                    f"there is no snapshot {snapshot}", f"the newest is {self.newest_snapshot()}"
                )
            versions = json.loads(found[0]["versions"])
        return {name: table.files(versions.get(name)) for name, table in self.tables.items()}

    def connect(self, snapshot: int | None = None, query: str | None = None) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB connection with the views over the committed files; those for `query`, if given."""
        if _is_confined():
            return connect_confined(self, snapshot, query)
        connection = duckdb.connect()
        # Each view that reads a table asks for its layout: of the footers that are read already. DuckDB's bar for
        # long queries would be drawn into what a program prints.
        connection.execute("SET parquet_metadata_cache = true; SET enable_progress_bar = false")
        for statement in init_statements(self.files(snapshot), query):
            connection.execute(statement)
        return connection

    def query(self, sql: str, snapshot: int | None = None, **tables: pa.Table) -> pa.Table:
        """Rows of one SQL query, at a snapshot or now; `tables` are there by their names. UsageError with DuckDB's own
        words if it is wrong."""
        with self.connect(snapshot, sql) as connection:
            for name, table in tables.items():
                connection.register(name, table)
            if _is_confined():
                one_select(connection, sql)
            try:
                relation = connection.sql(sql)
                return pa.table({}) if relation is None else relation.to_arrow_table()
            except duckdb.Error as error:
                raise sql_error(error) from None


def _is_confined() -> bool:
    """In a job of the service parts of queries came over the network."""
    return os.environ.get("FORGETLESS_CONFINED") == "1"
