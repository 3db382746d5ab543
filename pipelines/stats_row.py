"""One row of a foreign file as a record with statistics, or the reason why it is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from forgetless.curator.sources import encodable
from forgetless.pipelines.stats_columns import Columns
from forgetless.schemas.outcome import Span

ROUNDING = 0.01
"""A perplexity this little below 1, or a log-prob this little above 0, is one that was computed in bfloat16."""
LARGEST_ID = 2**31 - 1


class BadRow(Exception):
    """A row that is no record with statistics; the message says why."""


@dataclass(frozen=True)
class StatsRow:
    """A record of T tokens as it was published."""

    token_ids: list[int]
    spans: list[Span]
    """Targets; position 0, which nothing predicts, is never one."""
    text: str
    logprob: np.ndarray
    """[T-1] float32, natural; entry 0 is the second token's. NaN where the file has none."""


@dataclass(frozen=True)
class RowReader:
    """How rows of one file are read."""

    columns: Columns
    answer_after: Sequence[int]
    tokenizer: Any | None
    vocabulary: int
    """Ids that the tokenizer has, from 0; all that fit a record where there is no tokenizer."""

    def read(self, row: dict[str, Any]) -> StatsRow:
        """BadRow says what is wrong with it."""
        values = {column: row[name] for column, name in self.columns.names.items()}
        ids = self._ids(values)
        meaning = self.columns.meaning
        published = values[meaning]
        if published is None:
            raise BadRow(f"has no {_WORDS[meaning]}")
        if len(published) not in (len(ids), len(ids) - 1):
            raise BadRow(f"has {len(ids):,} token ids and {len(published):,} values of {_WORDS[meaning]}")
        spans = self._spans(ids, values)
        # The first token has no prefix: where it has a value, that is a placeholder.
        logprob = _logprobs(published[len(published) - len(ids) + 1 :], meaning)
        if any(np.isnan(logprob[span.start - 1 : span.end - 1]).any() for span in spans):
            raise BadRow(f"lacks the {_WORDS[meaning]} of a target token")
        return StatsRow(ids, spans, self._text(ids, values), logprob)

    def _ids(self, values: dict[Any, Any]) -> list[int]:
        ids = values["ids"] if "ids" in values else self._tokenised(values["text"])
        if not ids:
            raise BadRow("has no token ids")
        wrong = [token for token in ids if token is None or not 0 <= token < self.vocabulary]
        if wrong:
            raise BadRow(f"token {wrong[0]} is outside the vocabulary of {self.vocabulary:,}")
        return list(ids)

    def _tokenised(self, text: str | None) -> list[int]:
        """As the tokenizer does by itself, but with one start token where the text spells it already."""
        if not text or not encodable(text):
            raise BadRow("has no text")
        assert self.tokenizer
        start = self.tokenizer.bos_token
        spelled = start is not None and text.startswith(start)
        return list(self.tokenizer(text, add_special_tokens=not spelled, verbose=False)["input_ids"])

    def _text(self, ids: list[int], values: dict[Any, Any]) -> str:
        if self.tokenizer:
            return str(self.tokenizer.decode(ids))
        text = values.get("text") or ""
        return text if encodable(text) else ""

    def _spans(self, ids: list[int], values: dict[Any, Any]) -> list[Span]:
        column = self.columns.targets
        name = self.columns.names[column] if column else ""
        told: Any = values[column] if column else ()
        if told is None:
            raise BadRow(f"has no {name}")
        if column in ("labels", "mask"):
            if len(told) != len(ids):
                raise BadRow(f"has {len(ids):,} token ids and {len(told):,} {name}")
            nothing = -100 if column == "labels" else 0
            spans = _runs([flag is not None and flag != nothing for flag in told])
        elif column == "spans":
            spans = sorted((_place(span, "start"), _place(span, "end")) for span in told)
        elif column == "prompt_length":
            spans = [(told, len(ids))]
        else:
            spans = [(_behind(ids, self.answer_after) if self.answer_after else 1, len(ids))]
        if any(not 0 <= start <= end <= len(ids) for start, end in spans):
            raise BadRow(f"has targets outside its {len(ids):,} tokens")
        if any(before[1] > after[0] for before, after in pairwise(spans)):
            raise BadRow("has targets that overlap")
        found = [Span(start=max(start, 1), end=end) for start, end in spans if end > max(start, 1)]
        if not found:
            raise BadRow("has no target token with a prefix")
        return found


_WORDS = {"logprob": "log-prob", "perplexity": "perplexity"}


def _behind(ids: list[int], marker: Sequence[int]) -> int:
    """Where the last occurrence of `marker` ends."""
    size = len(marker)
    ends = (end for end in range(len(ids), size - 1, -1) if ids[end - size : end] == list(marker))
    if (end := next(ends, None)) is None:
        raise BadRow(f"nowhere has the ids {', '.join(map(str, marker))} that its target would follow")
    return end


def _place(span: dict[str, int | None] | None, end: str) -> int:
    """-1, which is outside of every record, where it is null."""
    place = span[end] if span else None
    return -1 if place is None else place


def _runs(flags: list[bool]) -> list[tuple[int, int]]:
    """Stretches of set flags."""
    edges = np.flatnonzero(np.diff([0, *map(int, flags), 0])).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _logprobs(published: list[float | None], meaning: str) -> np.ndarray:
    """float32 [T-1]; NaN for None.

    float32 has two neighbours for most values; the one nearer 0 is taken, so that a token whose perplexity is
    a threshold exactly does not come to exceed it.
    """
    values = np.array(published, dtype=np.float64)
    given = np.array([value is not None for value in published], dtype=bool)
    possible = values >= 1 - ROUNDING if meaning == "perplexity" else values <= ROUNDING
    good = np.isfinite(values) & possible
    if len(wrong := np.flatnonzero(given & ~good)):
        place = int(wrong[0])
        raise BadRow(f"{_WORDS[meaning]} {values[place]:g} of token {place + 1} is none")
    exact = -np.log(values.clip(min=1)) if meaning == "perplexity" else values.clip(max=0)
    rounded = (exact + 0.0).astype(np.float32)  # + 0.0: no negative zero
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(0)), rounded).astype(np.float32)
