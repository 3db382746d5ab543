"""The target tokens that the base model expected least, with what stands around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from forgetless.curator.report.answers import ALL_KINDS
from forgetless.curator.report.heatmap import Mark
from forgetless.curator.report.record import read_records

AROUND = 10
"""Tokens of context on each side."""

# Among the n records with the lowest min_logprob are the n lowest tokens: only their lists are read.
_HARDEST = """
    WITH worst AS (
        SELECT s.id, r.kind FROM token_stats s JOIN records r USING (id)
        WHERE s.scorer = $scorer AND s.rejection IS NULL AND r.fallback IS NULL
          AND s.min_logprob IS NOT NULL AND ($task::VARCHAR IS NULL OR r.task = $task)
        QUALIFY row_number() OVER (PARTITION BY r.kind ORDER BY s.min_logprob, s.id) <= $count),
    listed AS (
        SELECT w.id, w.kind, r.target_spans, unnest(s.logprob) AS logprob,
               unnest(range(len(s.logprob))) AS position
        FROM worst w JOIN records r USING (id) JOIN token_stats s USING (id) WHERE s.scorer = $scorer)
    SELECT id, kind, position FROM listed
    WHERE logprob IS NOT NULL AND NOT isnan(logprob) AND len(list_filter(target_spans,
        lambda span: position >= span.start AND position < span."end")) > 0
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY logprob, id, position) <= $count
    ORDER BY logprob, id, position"""


@dataclass(frozen=True)
class HardToken:
    """One of the hardest tokens."""

    id: str
    """Of its record."""
    kind: str
    label: str
    mark: Mark
    before: list[Mark]
    after: list[Mark]
    overall: bool
    """Whether it is among the hardest of all kinds together."""


def hardest(
    connection: duckdb.DuckDBPyConnection, scorer: str, task: str | None, count: int
) -> list[HardToken]:
    """The `count` hardest tokens of every kind, hardest first; the first `count` are the hardest of all."""
    found: Sequence[dict[str, Any]] = (
        connection.sql(_HARDEST, params={"scorer": scorer, "task": task, "count": count})
        .to_arrow_table()
        .to_pylist()
    )
    views = read_records(connection, sorted({row["id"] for row in found}), scorer)
    return [_hard_token(row, views[row["id"]].marks, place < count) for place, row in enumerate(found)]


def _hard_token(row: dict[str, Any], marks: Sequence[Mark], overall: bool) -> HardToken:
    place = row["position"]
    before, after = marks[max(place - AROUND, 0) : place], marks[place + 1 : place + 1 + AROUND]
    return HardToken(
        row["id"], row["kind"], ALL_KINDS[row["kind"]], marks[place], list(before), list(after), overall
    )
