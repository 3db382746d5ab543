"""Whether a text holds what evaluation files ask: n-gram overlap, as for GPT-3 (Brown et al. 2020, appendix C)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgetless.curator.filters.words import bare_words
from forgetless.curator.sources import read_rows
from forgetless.schemas.base import digest
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Contamination

SHORTEST = 5
"""Words below which an equal text is no leak: `Paris` and `72` are answers to many questions."""
PLAIN = (".txt", ".md")


class Contaminated:
    """The n-grams of evaluation files, with where each was first seen; about 100 bytes an n-gram.

    A text of fewer than n words, there or here, counts as one n-gram, so that it must be equal as a whole;
    one of fewer than 5 is never refused. Case, width and punctuation make no difference.
    """

    def __init__(self, settings: Contamination) -> None:
        """Read the files.

        Raises:
            RecipeError: one is missing, cannot be read, has a broken row, or holds no text.
        """
        self._settings = settings
        self._places: dict[int, str] = {}
        for path in settings.files:
            count = 0
            for where, text in _texts(path):
                for gram in _grams(text, settings.ngram):
                    self._places.setdefault(hash(gram), where)
                    count += 1
            if not count:
                raise RecipeError(
                    f"evaluation file {str(path)!r} holds no text", "correct `filters.contamination.files`"
                )

    def judge(self, text: str) -> Rejection | None:
        """A rejection that quotes the first shared n-gram and says where it is from, or None."""
        grams = _grams(text, self._settings.ngram)
        shared = [gram for gram in grams if hash(gram) in self._places]
        share = len(shared) / len(grams) if grams else 0.0
        if share <= self._settings.max_share:
            return None
        quote, where = " ".join(shared[0]), self._places[hash(shared[0])]
        return Rejection(
            step="contamination", reason=f"shares {quote!r} with {where}",
            score=share, threshold=self._settings.max_share,
        )  # fmt: skip


def content_digest(settings: Contamination) -> str:
    """Of what the files hold, wherever they lie: other contents refuse other texts.

    Raises:
        RecipeError: a file is missing.
    """
    return digest(sorted({_file_digest(path) for path in settings.files}))


def _file_digest(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [_there(path)]
    parts = []
    for file in files:
        with file.open("rb") as handle:
            parts.append(f"{file.suffix} {hashlib.file_digest(handle, 'sha256').hexdigest()}")
    return digest(parts)


def _there(path: Path) -> Path:
    if not path.exists():
        raise RecipeError(
            f"evaluation file {str(path)!r} does not exist", "correct `filters.contamination.files`"
        )
    return path


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = bare_words(text)
    if len(words) < min(n, SHORTEST):
        return []
    return list(zip(*(words[i:] for i in range(n)), strict=False)) or [tuple(words)]


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every text of a file, with its place."""
    if _there(path).suffix in PLAIN:
        yield from _paragraphs(path)
        return
    for row in read_rows(path):
        if row.values is None:
            raise RecipeError(
                f"evaluation file {str(path)!r}: {row.where} {row.problem}", "correct or remove the row"
            )
        for text in _strings(row.values):
            yield row.where, text


def _strings(value: Any) -> Iterator[str]:
    """All strings in a row: columns, choices, contents of messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    """Paragraphs, since sentences run over lines, and lines, since each may be a question of its own."""
    try:
        lines = [*path.read_text(encoding="utf-8-sig").splitlines(), ""]
    except UnicodeDecodeError:
        raise RecipeError(f"evaluation file {str(path)!r} is not UTF-8", "save it as UTF-8") from None
    paragraph: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            paragraph.append(line)
            yield f"{path.name}:{number}", line
        elif paragraph:
            yield f"{path.name}:{number - len(paragraph)}", " ".join(paragraph)
            paragraph = []
