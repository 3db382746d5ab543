"""A folder for the time of a request."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """It is removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="request-", dir=home) as folder:
        yield Path(folder)
