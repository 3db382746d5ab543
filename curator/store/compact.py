"""Few large parts in the place of many small ones, so that queries open few files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forgetless.curator.store.store import Store

LARGE = 128 * 1024 * 1024
"""Bytes of a part, at most. Of token ids or log-probs alone that is some 15 million tokens, with the twenty best of
each position more than a million: well over the half million below which a part costs more to open than to read."""


@dataclass(frozen=True)
class Compacted:
    """What became of one table's parts."""

    table: str
    parts_before: int
    parts: int
    bytes_before: int
    bytes: int


@dataclass(frozen=True)
class Vacuumed:
    """Files that were dropped."""

    files: int
    bytes: int


def compact(
    store: Store, large: int = LARGE, told: Callable[[Compacted], None] = lambda _: None
) -> list[Compacted]:
    """Join neighbouring parts of under `large / 2` bytes to parts of up to `large`, each table in one transaction.

    Killed at any moment, each table has either its old parts or its new ones. `told` hears of each table that
    changed. The caller holds the store's lock.
    """
    done = []
    for name, table in store.tables.items():
        parts = [Path(part) for part in table.files()]
        groups = _groups(parts, large)
        if not groups:
            continue
        table.join(groups)
        after = [Path(part) for part in table.files()]
        done.append(Compacted(name, len(parts), len(after), _bytes(parts), _bytes(after)))
        told(done[-1])
    return done


def vacuum(store: Store) -> Vacuumed:
    """Drop the files that neither the newest version nor a snapshot names; the caller holds the store's lock.

    Versions between snapshots can no longer be read by other Delta readers.
    """
    snapshots = store.tables["snapshots"].read()["snapshot"].to_pylist()
    needed = {part for at in (None, *snapshots) for parts in store.files(at).values() for part in parts}
    dropped = [
        file
        for table in store.tables.values()
        for file in table.path.absolute().iterdir()
        if file.is_file() and ".parquet" in file.name and str(file) not in needed
    ]
    size = _bytes(dropped)
    for file in dropped:
        file.unlink()
    return Vacuumed(len(dropped), size)


def _groups(parts: list[Path], large: int) -> list[list[Path]]:
    """Runs of two small parts or more that stand side by side, none larger together than `large`."""
    groups: list[list[Path]] = [[]]
    size = 0
    for part in parts:
        own = part.stat().st_size
        if own >= large / 2 or size + own > large:
            groups.append([])
            size = 0
        if own < large / 2:
            groups[-1].append(part)
            size += own
    return [group for group in groups if len(group) > 1]


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)
