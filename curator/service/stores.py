"""The stores that are served, by name."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from forgetless.curator.service.problems import Problem
from forgetless.curator.service.settings import Settings
from forgetless.curator.store import Store
from forgetless.curator.store.store import MANIFEST

DEPTH = 3
"""How far below a root stores are looked for."""
KEPT = 8
"""Connections of states of stores that are kept open."""


class Stores:
    """Those that the service was started with, and those that jobs have made under its roots."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: OrderedDict[tuple[object, ...], duckdb.DuckDBPyConnection] = OrderedDict()
        self._files: dict[Path, tuple[object, dict[str, list[str]]]] = {}
        self._guard = threading.Lock()

    def paths(self) -> dict[str, Path]:
        """Name → folder, those that are not made yet included."""
        found = dict(self._settings.stores)
        for path in self._made():
            if path not in found.values():
                found[free_name(path, found)] = path
        return found

    def path(self, name: str) -> Path:
        """The folder of one; Problem 404 if no store has this name."""
        path = self._settings.stores.get(name) or self.paths().get(name)
        if path is None:
            raise Problem(
                404, f"there is no store {name!r}", f"there are: {', '.join(self.paths()) or 'none'}"
            )
        return path

    def name(self, path: Path) -> str | None:
        """The name of the store in a folder."""
        return next((name for name, each in self.paths().items() if each == path), None)

    def get(self, name: str) -> Store:
        """A store; Problem 404 if there is none of this name, or if no job has made it yet."""
        path = self.path(name)
        if not (path / MANIFEST).is_file():
            raise Problem(404, f"store {name!r} is empty", "a build job makes it")
        return Store.open(path)

    @contextmanager
    def reading(self, name: str, snapshot: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor over all views of a store, as it is now or at a snapshot. Connections are shared by all who read
        the same state: making one takes longer than most queries."""
        store = self.get(name)
        key = (store.path, snapshot, self.state(store))
        with self._guard:
            if key not in self._open:
                self._open[key] = store.connect(snapshot)
                while len(self._open) > KEPT:  # whoever reads from it still has a cursor of its own
                    self._open.popitem(last=False)[1].close()
            self._open.move_to_end(key)
            cursor = self._open[key].cursor()
        with cursor:
            yield cursor

    def close(self) -> None:
        """Close the connections."""
        with self._guard:
            while self._open:
                self._open.popitem()[1].close()

    def files(self, store: Store) -> dict[str, list[str]]:
        """Table → committed parts, as it is now."""
        key = (store.path, self.state(store))
        found = self._files.get(store.path)
        if found is None or found[0] != key:
            found = self._files[store.path] = (key, store.files())
        return found[1]

    @staticmethod
    def state(store: Store) -> tuple[int, ...]:
        """Changes when anything is committed to a store: for each table, when its log was last written to."""
        return tuple((table.path / "_delta_log").stat().st_mtime_ns for table in store.tables.values())

    def _made(self) -> Iterator[Path]:
        """Stores below the roots. An export has a manifest of the same name, and no tables."""
        for root in self._settings.confinement.roots:
            for depth in range(1, DEPTH):
                for manifest in sorted(root.glob("*/" * depth + MANIFEST)):
                    if (manifest.parent / "outcomes" / "_delta_log").is_dir():
                        yield manifest.parent


def free_name(path: Path, taken: Mapping[str, Path]) -> str:
    """A store's name: its folder's, or its parent's for one that is called `store`, as most are; numbered if taken."""
    folder = path.parent.name if path.name == "store" else path.name
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in folder).strip(".") or "store"
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in taken)
