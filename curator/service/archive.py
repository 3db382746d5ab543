"""A folder as a zip file that is written while it is sent."""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PIECE_BYTES = 256 * 1024
PACKED = (".parquet", ".zip", ".gz", ".zst", ".png")
"""Files that would not become smaller."""


def files_in(folder: Path) -> Iterator[Path]:
    """Ordinary files below `folder`; no link is followed."""
    for where, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def zipped(folder: Path) -> Iterator[bytes]:
    """The bytes of a zip of `folder`, a piece at a time."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for path in files_in(folder):
            yield from _member(archive, sink, path, str(path.relative_to(folder)))
    yield sink.taken()


def _member(archive: zipfile.ZipFile, sink: "_Sink", path: Path, name: str) -> Iterator[bytes]:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as source, archive.open(info, "w", force_zip64=True) as member:
        while piece := source.read(PIECE_BYTES):
            member.write(piece)
            yield sink.taken()


class _Sink(io.RawIOBase):
    """Where the archive is written to: kept until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        """All of it."""
        self._pieces.append(bytes(piece))
        return len(piece)

    def taken(self) -> bytes:
        """What has come since."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
