"""Records longer than a model's context, scored in windows that overlap by half."""

from dataclasses import dataclass

import numpy as np

from forgetless.curator.scoring.stats import TokenStats


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
    while found[-1].end < length:
        kept = found[-1].end
        begin = kept - context // 2
        found.append(Window(begin, min(length, begin + context), kept))
    return found


def joined(pieces: list[tuple[Window, TokenStats]]) -> TokenStats:
    """The statistics of a record from those of its windows, in order."""

    def column(name: str) -> np.ndarray | None:
        # Entry i of a window's list belongs to its token i + 1.
        parts = [getattr(stats, name) for _, stats in pieces]
        if any(part is None for part in parts):
            return None
        kept = (part[window.kept - window.begin - 1 :] for (window, _), part in zip(pieces, parts, strict=True))
        return np.concatenate(list(kept))

    names = ("logprob", "entropy", "rank", "topk_ids", "topk_logprobs", "tail_mass")
    return TokenStats(**{name: column(name) for name in names}, windows=len(pieces))
