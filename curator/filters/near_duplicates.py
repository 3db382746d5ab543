"""Whether nearly the same text was there before: Jaccard similarity of word 5-grams.

MinHash with locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) by
`rensa` finds candidates; each of them is then compared exactly, so no text is refused on an estimate.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from rensa import RMinHash, RMinHashLSH

from forgetless.curator.filters.words import OPENING, opening, words
from forgetless.schemas.outcome import Rejection

NGRAM = 5
HASHES = 128
"""Length of a signature, at most."""
RECALL = 0.99
"""Chance, at least, that a text exactly at the threshold is found; a more similar one is found more often."""
SEED = 1
"""Of the signatures: every process refuses the same texts."""
BATCH = 1000


class _Kept(NamedTuple):
    grams: "array[int]"
    """Hashes of the 5-grams."""
    opening: str


class NearDuplicates:
    """The texts so far.

    Each takes about 2 kB at a threshold of 0.7, 1.5 kB at 0.9, 4 kB at 0.5, and 8 bytes for each of its words.
    """

    def __init__(self, threshold: float, texts: Iterable[str] = ()) -> None:
        """`threshold`: Jaccard similarity, above 0 and at most 1, that refuses. `texts` are there, unjudged."""
        bands, rows = bands_and_rows(threshold)
        self._threshold = threshold
        self._hashes = bands * rows
        self._index = RMinHashLSH(threshold, self._hashes, bands)
        self._kept: list[_Kept] = []
        different = iter(dict.fromkeys(texts))
        while batch := list(islice(different, BATCH)):
            self._add(batch)

    def judge(self, text: str) -> Rejection | None:
        """A rejection that names the most similar earlier text if one is too similar; else `text` is added."""
        grams = shingles(text)
        signature = RMinHash(self._hashes, SEED)
        signature.update(grams)
        hashes = RMinHash.hash_token_sets([grams])[0]
        if candidates := self._index.query(signature):
            score, key = max(self._compared(set(hashes), candidates))
            if score >= self._threshold:
                reason = f"nearly the same as {opening(self._kept[-key].opening)!r}"
                return Rejection(step="near_duplicate", reason=reason, score=score, threshold=self._threshold)
        self._index.insert(len(self._kept), signature)
        self._kept.append(_kept(hashes, text))
        return None

    def _compared(self, grams: set[int], candidates: list[int]) -> Iterator[tuple[float, int]]:
        """Exact similarity to each candidate, and its key negated: of equals, the earliest is the greatest."""
        for key in candidates:
            others = set(self._kept[key].grams)
            yield len(grams & others) / len(grams | others), -key

    def _add(self, texts: list[str]) -> None:
        grams = [shingles(text) for text in texts]
        self._index.insert_many(RMinHash.from_token_sets(grams, self._hashes, SEED), len(self._kept))
        self._kept += map(_kept, RMinHash.hash_token_sets(grams), texts)


def _kept(hashes: list[int], text: str) -> _Kept:
    return _Kept(array("Q", hashes), text[:OPENING])


def shingles(text: str) -> list[str]:
    """Five words each, one after another; a text of fewer words is one, so that only its equal resembles it."""
    found = words(text)
    return [" ".join(gram) for gram in zip(*(found[i:] for i in range(NGRAM)), strict=False)] or [
        " ".join(found)
    ]


def bands_and_rows(threshold: float) -> tuple[int, int]:
    """Bands of a signature and hashes in each: the longest bands, hence fewest candidates, that keep `RECALL`.

    Two texts of similarity s share a band with probability 1 - (1 - s^rows)^bands.
    """
    for rows in range(HASHES, 1, -1):
        for bands in range(1, HASHES // rows + 1):
            if 1 - (1 - threshold**rows) ** bands >= RECALL:
                return bands, rows
    return HASHES, 1
