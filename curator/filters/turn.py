"""Whether one generated turn is whole: not empty, of a wanted length, ended, not repeating itself."""

from dataclasses import dataclass

from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Filters

NGRAM = 4
REPETITION_FROM = 32
"""Tokens below which repetition says nothing: short answers repeat by nature."""


@dataclass(frozen=True)
class Turn:
    """What a model wrote in one go."""

    ids: list[int]
    """Sampled ids without the end token."""
    text: str
    """The same decoded, markers left out."""
    finish_reason: str
    """stop or length"""


def judge(turn: Turn, filters: Filters, finished: bool) -> Rejection | None:
    """The first filter that refuses `turn`, or None. `finished` holds where `filters` leaves it open."""
    length = len(turn.ids)
    if not turn.text.strip():
        return Rejection(step="empty", reason="the turn is empty", score=0, threshold=0)
    if length < filters.min_tokens:
        return Rejection(step="length", reason="too short", score=length, threshold=filters.min_tokens)
    if filters.max_tokens and length > filters.max_tokens:
        return Rejection(step="length", reason="too long", score=length, threshold=filters.max_tokens)
    if turn.finish_reason != "stop" and (finished if filters.finished is None else filters.finished):
        return Rejection(step="finished", reason="cut off before it ended", score=length)
    share = repetition(turn.ids)
    if length >= REPETITION_FROM and share > filters.max_repetition:
        return Rejection(
            step="repetition", reason="repeats itself", score=share, threshold=filters.max_repetition
        )
    return None


def repetition(ids: list[int]) -> float:
    """Share of repeated 4-grams: 1 - distinct / all, 0 where there are none."""
    grams = list(zip(*(ids[i:] for i in range(NGRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
