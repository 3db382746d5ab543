"""Parquet and Arrow files of any size, read a batch at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from forgetless.schemas.errors import UsageError

BATCH_ROWS = 1000


class ArrowFile:
    """A Parquet file, an Arrow (Feather) file or an Arrow stream, told by its content.

    Raises:
        UsageError: it is not there, none of these, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._form = _form(path)
        with _readable(path):
            if self._form == "parquet":
                file = pq.ParquetFile(path)
                self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
            else:
                self.schema = self._arrow().schema
                self.rows = sum(batch.num_rows for batch in self._arrow_batches())

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows in order, of these columns."""
        with _readable(self.path):
            if self._form == "parquet":
                yield from pq.ParquetFile(self.path).iter_batches(BATCH_ROWS, columns=list(columns))
                return
            for batch in self._arrow_batches():
                chosen = batch.select(list(columns))
                for start in range(0, len(chosen), BATCH_ROWS):
                    yield chosen.slice(start, BATCH_ROWS)

    def _arrow(self) -> Any:
        source = pa.memory_map(str(self.path))
        return pa.ipc.open_file(source) if self._form == "arrow" else pa.ipc.open_stream(source)

    def _arrow_batches(self) -> Iterator[pa.RecordBatch]:
        reader = self._arrow()
        if self._form == "stream":
            yield from reader
        else:
            yield from map(reader.get_batch, range(reader.num_record_batches))


def _form(path: Path) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"file {str(path)!r} {what}", "name a Parquet or Arrow file")
    with path.open("rb") as handle:
        start = handle.read(8)
    for magic, form in ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "stream")):
        if start.startswith(magic):
            return form
    what = "is empty" if not start else "is neither Parquet nor Arrow"
    raise UsageError(
        f"file {str(path)!r} {what}",
        "write it as Parquet, with a list per row: pandas.DataFrame.to_parquet, or COPY … TO 'x.parquet' in DuckDB",
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"file {str(path)!r} cannot be read: {reason}", "write or download it again"
        ) from None
