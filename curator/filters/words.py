"""The words of a text, as filters compare them."""

import re
import unicodedata

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese put no spaces between words: each letter is one."""
_WORD = re.compile(r"\w+")
OPENING = 60
"""Characters that name a text."""


def words(text: str) -> list[str]:
    """What white space separates, in one case and NFKC: `3 + 4` and `3 - 4` differ."""
    return _folded(text).split()


def bare_words(text: str) -> list[str]:
    """The same without punctuation."""
    return _WORD.findall(_folded(text))


def opening(text: str) -> str:
    """Its first characters on one line."""
    return " ".join(text[:OPENING].split()) + ("…" if len(text) >= OPENING else "")


def _folded(text: str) -> str:
    if text.isascii():  # most texts are, and this is a tenth of the work
        return text.lower()
    text = text.encode(errors="replace").decode()  # JSON can spell half a character, which nothing takes
    return _UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", text).casefold())
