"""Rows on their way into the store, committed a chunk at a time."""

import time
from collections.abc import Sequence

from forgetless.curator.store import Store
from forgetless.schemas.outcome import Outcome

ROWS = 256
SECONDS = 20.0


class Chunk:
    """Collects outcomes; what is committed is never made again, what is not is lost with the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[Outcome] = []
        self._since = time.monotonic()

    def add(self, rows: Sequence[Outcome]) -> None:
        """Take rows that belong together; commits when there are enough, or the last commit is long enough ago."""
        self._rows += rows
        if len(self._rows) >= ROWS or time.monotonic() - self._since > SECONDS:
            self.commit()

    def commit(self) -> None:
        """One Parquet part, one transaction."""
        rows, self._rows = self._rows, []
        self._store.append("outcomes", rows)
        self._since = time.monotonic()
