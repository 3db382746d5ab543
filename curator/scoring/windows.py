"""Records longer than a model's context, scored in windows that overlap by half."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from forgetless.curator.scoring.stats import Record, Scored, TokenStats

LISTS = ("logprob", "entropy", "rank", "topk_ids", "topk_logprobs", "tail_mass")


@dataclass(frozen=True)
class Window:
    """Tokens begin … end of a record, of which those from `kept` on are scored."""

    begin: int
    end: int
    kept: int


def windows(length: int, context: int) -> list[Window]:
    """Windows of at most `context` tokens over a record of `length`.

    Every token from the second on is scored in exactly one; in all but the first with at least context // 2
    tokens before it.
    """
    found = [Window(0, min(length, context), 1)]
    while (kept := found[-1].end) < length:
        begin = kept - context // 2
        found.append(Window(begin, min(length, begin + context), kept))
    return found


def score_in_windows(
    score: Callable[[Iterable[Record]], Iterator[Scored]], records: Iterable[Record], context: int
) -> Iterator[Scored]:
    """(id, statistics) of every record by a scorer whose model takes `context` tokens."""
    cuts: dict[str, list[Window]] = {}
    there: dict[str, dict[int, TokenStats | None]] = {}

    def pieces() -> Iterator[Record]:
        for name, ids in records:
            cuts[name] = windows(len(ids), context)
            there[name] = {}
            for number, window in enumerate(cuts[name]):
                yield f"{number}:{name}", ids[window.begin : window.end]

    for piece, stats in score(pieces()):
        number, _, name = piece.partition(":")
        there[name][int(number)] = stats
        if len(there[name]) == len(cuts[name]):
            scored = there.pop(name)
            yield name, _joined(cuts.pop(name), [scored[i] for i in sorted(scored)])


def _joined(cuts: list[Window], found: list[TokenStats | None]) -> TokenStats | None:
    scored = [stats for stats in found if stats]
    if len(found) == 1 or len(scored) < len(found):
        return found[0] if len(found) == 1 else None

    def column(name: str) -> Any:
        parts = [getattr(stats, name) for stats in scored]
        if any(part is None for part in parts):
            return None
        # Entry i of a window's list belongs to its token i + 1.
        return np.concatenate([p[cut.kept - cut.begin - 1 :] for cut, p in zip(cuts, parts, strict=True)])

    return TokenStats(**{name: column(name) for name in LISTS}, windows=len(scored))
