"""Answers that are kept while what they were read from is unchanged."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from forgetless.schemas.base import digest

BYTES = 128 * 2**20


class Kept:
    """The bytes of answers, by what they depend on; those not asked for longest are dropped beyond `BYTES`."""

    def __init__(self) -> None:
        self._found: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    def find(self, key: Hashable) -> bytes | None:
        """What is kept for this key."""
        with self._guard:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What `make` gave for this key, now or before."""
        if (found := self.find(key)) is not None:
            return found
        made = make()
        with self._guard:
            if key not in self._found:
                self._found[key] = made
                self._bytes += len(made)
            while self._bytes > BYTES:
                self._bytes -= len(self._found.popitem(last=False)[1])
        return made


def etag(*parts: object) -> str:
    """The name of an answer's version, as HTTP writes it."""
    return f'"{digest(*map(str, parts))[:24]}"'
