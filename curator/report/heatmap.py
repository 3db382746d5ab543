"""A record's tokens as a heatmap: which class of perplexity each token is in, whoever draws it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from forgetless.schemas.tables import HARD_PERPLEXITY


@dataclass(frozen=True)
class Level:
    """A class of perplexity and its colours."""

    upper: float
    """Highest perplexity in the class."""
    label: str
    """For the legend."""
    background: str
    """Hex colour."""
    foreground: str
    """Hex colour, of a contrast of at least 4.5 to the background."""


# Cividis at equal steps: one hue path from dark blue to yellow whose lightness rises throughout, so that it
# keeps its order for every kind of colour blindness and in grey (Nuñez, Anderton, Renslow 2018).
LEVELS = (
    Level(1.1, "≤ 1.1", "#00224e", "#ffffff"),
    Level(1.5, "≤ 1.5", "#35456c", "#ffffff"),
    Level(HARD_PERPLEXITY, f"≤ {HARD_PERPLEXITY}", "#666970", "#ffffff"),
    Level(6.0, "≤ 6", "#948e77", "#000000"),
    Level(20.0, "≤ 20", "#c8b866", "#000000"),
    Level(math.inf, "> 20", "#fee838", "#000000"),
)


@dataclass(frozen=True)
class Mark:
    """One token of a heatmap."""

    position: int
    token_id: int
    piece: str
    """Its text; bytes that are no text by themselves as `<0xE2>`."""
    is_target: bool
    perplexity: float | None
    """None where the token has no log-prob."""
    level: Level | None
    """None for prompt tokens, and where there is no log-prob."""
    logprob: float | None = None
    """Natural."""
    entropy: float | None = None
    """In nats; None where the scorer gives none. So for the rank."""
    rank: int | None = None
    """1 is the most probable token."""

    @property
    def is_hard(self) -> bool:
        """A target token above the threshold of Selective Token Masking."""
        return self.level is not None and self.perplexity is not None and self.perplexity > HARD_PERPLEXITY


@dataclass(frozen=True)
class Summary:
    """A heatmap in figures, over target tokens that have a log-prob."""

    tokens: int
    target_tokens: int
    perplexity: float | None
    """exp of the mean negative log-prob."""
    hard_share: float | None


def mark(
    token_ids: Sequence[int],
    pieces: Sequence[str],
    is_target: Sequence[bool],
    logprobs: Sequence[float | None],
    entropies: Sequence[float | None] | None = None,
    ranks: Sequence[int | None] | None = None,
) -> list[Mark]:
    """One mark per token, from lists of equal length; log-probs are natural."""
    unknown = [None] * len(token_ids)
    rows = zip(token_ids, pieces, is_target, logprobs, entropies or unknown, ranks or unknown, strict=True)
    return [_mark(position, *row) for position, row in enumerate(rows)]


def _mark(
    position: int,
    token_id: int,
    piece: str,
    is_target: bool,
    logprob: float | None,
    entropy: float | None,
    rank: int | None,
) -> Mark:
    perplexity = None if logprob is None else perplexity_of(logprob)
    level = level_of(perplexity) if is_target and perplexity is not None else None
    return Mark(position, token_id, piece, is_target, perplexity, level, logprob, entropy, rank)


def perplexity_of(logprob: float) -> float:
    """exp(-logprob), infinite where it does not fit a float."""
    return math.exp(-logprob) if logprob > -700 else math.inf


def level_of(perplexity: float) -> Level:
    """The class a perplexity is in; not-a-number counts as the hardest."""
    return next((level for level in LEVELS if perplexity <= level.upper), LEVELS[-1])


def summarise(marks: Sequence[Mark]) -> Summary:
    """Counts, perplexity and hard share of a heatmap."""
    targets = [m for m in marks if m.is_target]
    known = [m.perplexity for m in targets if m.perplexity is not None]
    if not known:
        return Summary(len(marks), len(targets), None, None)
    mean = math.exp(sum(map(math.log, known)) / len(known))
    return Summary(len(marks), len(targets), mean, sum(m.is_hard for m in marks) / len(known))
