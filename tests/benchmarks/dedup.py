"""`forgetless bench dedup`: the near-duplicate filter beside its library alone, the same texts, alternating."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from rensa import RMinHashDeduplicator

from forgetless.curator.filters import NearDuplicates
from forgetless.pipelines.demo.documents import document

NGRAM = 5
SIGNATURE = 128
"""Length of the library's signatures, as its documentation proposes."""


@dataclass(frozen=True)
class Round:
    """Both sides over all texts, from text to verdict, one after the other; in seconds."""

    filter: float
    library: float
    load: float
    """Of the machine at the beginning: above 1 others were using it."""

    @property
    def ratio(self) -> float:
        """Time of the filter for each second of the library."""
        return self.filter / self.library


@dataclass(frozen=True)
class DedupComparison:
    """What was compared, and how it came out."""

    texts: int
    threshold: float
    planted: int
    """Texts that are an earlier one with a few words changed, and at least as similar to it as the threshold."""
    found: int
    """Of these, how many the filter refused."""
    library_found: int
    """Of these, how many the library refused."""
    others: int
    """Texts less similar than that which the filter refused all the same."""
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        """Median of the rounds."""
        return statistics.median(r.ratio for r in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest of the rounds."""
        return min(r.ratio for r in self.rounds), max(r.ratio for r in self.rounds)


def compare_dedup(
    count: int = 10_000,
    threshold: float = 0.7,
    rounds: int = 5,
    told: Callable[[Round], None] = lambda _: None,
) -> DedupComparison:
    """Filter `count` texts, a tenth of them planted, `rounds` times on either side.

    `told` hears of each round as it ends. Which side goes first changes from round to round.
    """
    texts, sources = plant(count)
    planted = {i for i, j in sources.items() if jaccard(texts[i], texts[j]) >= threshold}
    done: list[Round] = []
    for number in range(rounds):
        load, order = os.getloadavg()[0], [_filter, _library] if number % 2 else [_library, _filter]
        took = {}
        for side in order:
            began = time.perf_counter()
            refused = side(texts, threshold)
            took[side] = time.perf_counter() - began, refused
        done.append(Round(took[_filter][0], took[_library][0], load))
        told(done[-1])
    refused, library_refused = took[_filter][1], took[_library][1]
    return DedupComparison(
        len(texts), threshold, len(planted), len(planted & refused), len(planted & library_refused),
        len(refused - planted), done,
    )  # fmt: skip


def plant(count: int) -> tuple[list[str], dict[int, int]]:
    """`count` texts of about 80 words from the demo's world, and which of them are changed copies of which.

    A tenth are copies of an earlier text with one to six words replaced.
    """
    rng = Random(0)
    texts: list[str] = []
    originals: list[int] = []
    sources: dict[int, int] = {}
    for i in range(count):
        if originals and rng.random() < 0.1:
            sources[i] = rng.choice(originals)
            texts.append(_changed(texts[sources[i]], rng))
        else:
            originals.append(i)
            texts.append("\n\n".join(document(rng) for _ in range(3)))
    return texts, sources


def jaccard(one: str, other: str) -> float:
    """Similarity of the sets of word 5-grams."""
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b)


def shingles(text: str) -> list[str]:
    """Word 5-grams, in the plainest way."""
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


def _changed(text: str, rng: Random) -> str:
    words = text.split(" ")
    for at in rng.sample(range(len(words)), rng.randint(1, 6)):
        words[at] = f"word{rng.randrange(1000)}"
    return " ".join(words)


def _filter(texts: list[str], threshold: float) -> set[int]:
    """What the filter refuses, a text at a time, as a build calls it."""
    judge = NearDuplicates(threshold).judge
    return {i for i, text in enumerate(texts) if judge(text)}


def _library(texts: list[str], threshold: float) -> set[int]:
    """What the library refuses, in the way its documentation shows: all at once, on estimates alone."""
    dedup = RMinHashDeduplicator(threshold=threshold, num_perm=SIGNATURE, use_lsh=True)
    kept = dedup.add_pairs((str(i), shingles(text)) for i, text in enumerate(texts))
    return {i for i, keep in enumerate(kept) if not keep}
