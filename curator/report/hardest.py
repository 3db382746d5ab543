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
POOL = 200
"""Hardest tokens of a kind among which each token is listed once, where it is hardest."""

# Among the n records with the lowest min_logprob are the n lowest tokens: only their lists are read.
_HARDEST = f"""
    WITH worst AS (
        SELECT s.id, r.kind FROM token_stats s JOIN records r USING (id)
        WHERE s.scorer = $scorer AND s.rejection IS NULL AND r.fallback IS NULL
          AND s.min_logprob IS NOT NULL AND ($task::VARCHAR IS NULL OR r.task = $task)
        QUALIFY row_number() OVER (PARTITION BY r.kind ORDER BY s.min_logprob, s.id) <= {POOL}),
    listed AS (
        SELECT w.id, w.kind, r.target_spans, unnest(s.logprob) AS logprob,
               unnest(r.token_ids) AS token_id, unnest(range(len(s.logprob))) AS position
        FROM worst w JOIN records r USING (id) JOIN token_stats s USING (id) WHERE s.scorer = $scorer AND s.rejection IS NULL),
    pool AS (
    SELECT * FROM listed
    WHERE logprob IS NOT NULL AND NOT isnan(logprob) AND len(list_filter(target_spans,
        lambda span: position >= span.start AND position < span."end")) > 0
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY logprob, id, position) <= {POOL}),
    distinct_tokens AS (
        SELECT id, kind, position, token_id, logprob, count(*) OVER (PARTITION BY kind, token_id) AS times
        FROM pool QUALIFY row_number() OVER (PARTITION BY kind, token_id ORDER BY logprob, id, position) = 1)
    SELECT * FROM distinct_tokens
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
    times: int
    """How often this token is among the `POOL` hardest of its kind."""


def hardest(
    connection: duckdb.DuckDBPyConnection, scorer: str, task: str | None, count: int
) -> list[HardToken]:
    """The `count` hardest tokens of every kind, hardest first, each where it is hardest."""
    found: Sequence[dict[str, Any]] = (
        connection.sql(_HARDEST, params={"scorer": scorer, "task": task, "count": count})
        .to_arrow_table()
        .to_pylist()
    )
    views = read_records(connection, sorted({row["id"] for row in found}), scorer)
    listed: set[int] = set()  # a token that is hard in several kinds is once among those of all kinds
    tokens = []
    for row in found:
        overall = row["token_id"] not in listed and len(listed) < count
        listed |= {row["token_id"]} if overall else set()
        tokens.append(_hard_token(row, views[row["id"]].marks, overall))
    return tokens


def _hard_token(row: dict[str, Any], marks: Sequence[Mark], overall: bool) -> HardToken:
    place = row["position"]
    before, after = marks[max(place - AROUND, 0) : place], marks[place + 1 : place + 1 + AROUND]
    return HardToken(
        row["id"],
        row["kind"],
        ALL_KINDS[row["kind"]],
        marks[place],
        list(before),
        list(after),
        overall,
        row["times"],
    )
