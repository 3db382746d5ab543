"""What the page of a record shows: its tokens, the other answers to its prompt, and what a mask may drop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forgetless.curator.report.heatmap import Mark, Summary, mark, summarise
from forgetless.curator.service import records
from forgetless.curator.service.records import Record
from forgetless.curator.service.service import Service
from forgetless.schemas.errors import UsageError

SHOWN_TOKENS = 12_000
"""Of all other answers together; those beyond are named."""

_SPECIAL = """
    SELECT v.token_id FROM vocab v JOIN outcomes o ON o.tokenizer = v.tokenizer WHERE o.id = $id AND v.special"""


@dataclass(frozen=True)
class Tokens:
    """A record's tokens as they are drawn."""

    record: Record
    marks: list[Mark]
    kept: frozenset[int]
    """Positions of marks that end a turn: no mask drops them."""
    summary: Summary

    @property
    def in_play(self) -> int:
        """Target tokens that a mask may drop."""
        return sum(self.record.tokens.is_target) - len(self.kept)

    @property
    def answer(self) -> list[Mark]:
        """The last turn."""
        spans = self.record.target_spans
        return self.marks[spans[-1].start : spans[-1].end] if spans else self.marks


@dataclass(frozen=True)
class RecordView:
    """One record, and what answers the same prompt."""

    record: Record
    tokens: Tokens
    versions: list[Tokens]
    """Ground truth and other answers, the record itself among them; empty where there is no other."""
    more: list[records.VersionOf]
    """Versions that are only named."""


def record_view(service: Service, store: str, id: str, scorer: str | None) -> RecordView:
    """All of it. Errors as `records.read`."""
    files = service.stores.files(service.stores.get(store))
    record = records.read(service.parts, files, id, scorer)
    with service.stores.reading(store) as connection:
        special = {row[0] for row in connection.sql(_SPECIAL, params={"id": record.id}).fetchall()}
    tokens = _tokens(record, special)
    versions, more, room = [], [], SHOWN_TOKENS
    for each in record.versions if len(record.versions) > 1 else ():
        if room <= 0:
            more.append(each)
            continue
        own = (
            tokens
            if each.id == record.id
            else _tokens(_read(service, files, each.id, record.scorer), special)
        )
        room -= len(own.answer)
        versions.append(own)
    return RecordView(record, tokens, versions, more)


def _read(service: Service, files: dict[str, Any], id: str, scorer: str | None) -> Record:
    """By the same scorer if it has scored this one too."""
    try:
        return records.read(service.parts, files, id, scorer)
    except UsageError:
        return records.read(service.parts, files, id)


def _tokens(record: Record, special: set[int]) -> Tokens:
    t = record.tokens
    marks = mark(t.ids, t.pieces, t.is_target, t.logprob, t.entropy, t.rank)
    return Tokens(record, marks, _kept(t.ids, t.is_target, special), summarise(marks))


def _kept(ids: Sequence[int], is_target: Sequence[bool], special: set[int]) -> frozenset[int]:
    """Special tokens at the end of a target span, as `stm_mask` has it (forgetless/curator/store/macros.py)."""
    followed = [*is_target[1:], False]
    return frozenset(
        position
        for position, (token_id, target, more) in enumerate(zip(ids, is_target, followed, strict=True))
        if target and not more and token_id in special
    )
