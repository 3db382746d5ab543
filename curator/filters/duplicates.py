"""Whether the same text was there before."""

from collections.abc import Iterable

from forgetless.schemas.base import digest
from forgetless.schemas.outcome import Rejection


class Duplicates:
    """Texts that were there before, by digest: 16 bytes each. White space makes no difference."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._seen = {_key(text) for text in texts}

    def judge(self, text: str) -> Rejection | None:
        """A rejection if `text` was there before; else it is from now on."""
        key = _key(text)
        if key in self._seen:
            return Rejection(step="duplicate", reason="the same text is there already", score=1, threshold=0)
        self._seen.add(key)
        return None


def _key(text: str) -> bytes:
    return bytes.fromhex(digest(" ".join(text.split())))
