"""Single rows of a store's tables, found without a query.

Parts never change, so that what was read of one holds as long as it is there, whatever is committed beside it. DuckDB
takes 75 ms for a record of 2,000 tokens in a store of a thousand: it reads the lists of a whole row group each time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """In bytes."""


Found = TypeVar("Found", bound=Sized)

BYTES = 512 * 2**20
"""Of row groups and indexes that are kept."""


class Part:
    """One file: its short columns, and where in it which id is."""

    def __init__(self, file: str, columns: Sequence[str]) -> None:
        parquet = pq.ParquetFile(file)
        groups = (parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups))
        self.edges = np.cumsum([0, *groups])
        self.columns: pa.Table = parquet.read(columns=["id", *columns])
        ids = np.array(self.columns["id"].to_pylist(), dtype=np.bytes_)
        self.order = np.argsort(ids, kind="stable")
        self.ids = ids[self.order]

    @cached_property
    def nbytes(self) -> int:
        """What it takes to keep it."""
        return int(self.columns.nbytes + self.ids.nbytes + self.order.nbytes)

    def rows(self, prefix: str) -> list[int]:
        """Of the ids that begin so."""
        begin = prefix.encode()
        first, end = np.searchsorted(self.ids, begin), np.searchsorted(self.ids, begin + b"\xff")
        return [int(row) for row in self.order[first:end]]

    def group(self, row: int) -> tuple[int, int]:
        """Number of the row group, and the row in it."""
        group = int(np.searchsorted(self.edges, row, side="right")) - 1
        return group, row - int(self.edges[group])


class Parts:
    """What was read last, shared by all stores and threads; beyond `BYTES` the oldest is dropped."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, object], Sized] = OrderedDict()
        self._bytes = 0
        self._guard, self._reading = threading.Lock(), threading.Lock()

    def part(self, file: str, columns: Sequence[str]) -> Part:
        """A file with the short columns `columns`."""
        return self._get((file, tuple(columns)), lambda: Part(file, columns))

    def row(self, file: str, part: Part, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """The values of one row."""
        group, place = part.group(row)
        rows = self._get(
            (file, (group, *columns)),
            lambda: pq.ParquetFile(file).read_row_group(group, columns=list(columns)),
        )
        found: dict[str, Any] = rows.slice(place, 1).to_pylist()[0]
        return found

    def find(
        self, files: Sequence[str], prefix: str, columns: Sequence[str]
    ) -> Iterator[tuple[str, Part, int]]:
        """File, part and row of every id that begins with `prefix`."""
        for file in files:
            part = self.part(file, columns)
            for row in part.rows(prefix):
                yield file, part, row

    def equal(
        self, files: Sequence[str], column: str, value: str, columns: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The short columns of the rows whose `column`, one of them, has this value."""
        found: list[dict[str, Any]] = []
        for file in files:
            table = self.part(file, columns).columns
            found += table.filter(pc.equal(table[column], value)).to_pylist()
        return found

    def pieces(self, files: Sequence[str]) -> dict[str, dict[int, str]]:
        """Tokenizer → token id → its text, of the parts of `vocab`."""
        return self._get((";".join(files), "pieces"), lambda: _Pieces(files)).by_tokenizer

    def _get(self, key: tuple[str, object], make: Callable[[], Found]) -> Found:
        found: Found | None = self._find(key)
        if found is None:
            with self._reading:  # who wants the same waits for it instead of reading it too
                found = self._find(key)
                if found is None:
                    found = make()
                    self._keep(key, found)
        return found

    def _find(self, key: tuple[str, object]) -> Any:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, object], made: Sized) -> None:
        with self._guard:
            self._kept[key] = made
            self._bytes += made.nbytes
            while self._bytes > BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


class _Pieces:
    def __init__(self, files: Sequence[str]) -> None:
        table = pa.concat_tables(
            [pq.read_table(file, columns=["tokenizer", "token_id", "piece"]) for file in files]
        )
        self.nbytes = 4 * table.nbytes  # Python's objects are larger
        self.by_tokenizer: dict[str, dict[int, str]] = {}
        for name in table["tokenizer"].unique().to_pylist():
            own = table.filter(pc.equal(table["tokenizer"], name))
            self.by_tokenizer[name] = dict(
                zip(own["token_id"].to_pylist(), own["piece"].to_pylist(), strict=True)
            )
