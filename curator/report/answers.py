"""What a store holds of a task's answers, in figures: one per own accepted answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from forgetless.schemas.tables import HARD_PERPLEXITY

KINDS = {
    "ground_truth": "ground truth",
    "teacher": "teacher",
    "paraphrase": "paraphrase",
    "minimum_change": "minimum change",
    "self_output": "self-output",
}
"""Kinds that are compared, in the order of the lecture's bars, and what people call them."""
ALL_KINDS = KINDS | {
    "magpie": "Magpie",
    "bos_replay": "BOS replay",
    "replay": "replay",
    "speech": "speech",
    "imported": "imported",
}
"""Every kind of record there is, those that answer no task's prompts last."""

_COMPARED = f"kind IN ({', '.join(repr(kind) for kind in KINDS)})"
# All ground truth is one set, however often it was imported: other sets answer all of it.
_SET = "CASE WHEN kind = 'ground_truth' THEN kind ELSE digest END"
# Of a longer conversation the last turn: it is what other versions are another answer to.
_LAST_TURN = 'r.target_spans[-1].start + 1 : r.target_spans[-1]."end"'

_ANSWERS = f"""
    SELECT r.id, {_SET} AS set, kind, coalesce(r.parent_id, r.id) AS prompt, r.token_ids[{_LAST_TURN}] AS ids,
           coalesce(len(r.messages[-1].content), len(r.text)) AS characters,
           -list_avg(s.logprob[{_LAST_TURN}]) AS nll,
           len(list_filter(s.logprob[{_LAST_TURN}], lambda l: l < -ln({HARD_PERPLEXITY}))) AS hard
    FROM records r LEFT JOIN (SELECT id, logprob FROM token_stats WHERE scorer = $scorer) s ON s.id = r.id
    WHERE r.task = $task AND {_COMPARED} AND r.fallback IS NULL AND len(r.target_spans) > 0
    ORDER BY prompt, r.id"""

_SETS = f"""
    SELECT {_SET} AS set, kind, any_value(step) AS step, list(DISTINCT digest ORDER BY digest) AS digests,
           count(DISTINCT plan_id) AS prompts,
           count(DISTINCT plan_id) FILTER (status = 'accepted' AND fallback IS NULL) AS answered,
           count(*) FILTER (status = 'accepted' AND fallback IS NULL) AS own,
           count(*) FILTER (status = 'accepted' AND fallback IS NOT NULL) AS fallbacks
    FROM outcomes WHERE task = $task AND {_COMPARED} AND status <> 'intermediate'
    GROUP BY set, kind ORDER BY list_position({list(KINDS)}, kind), min(created)"""

_SCORERS = f"""
    SELECT s.scorer FROM token_stats s JOIN records r USING (id)
    WHERE r.task = $task AND {_COMPARED} AND s.rejection IS NULL
    GROUP BY s.scorer ORDER BY count(*) DESC, max(s.created) DESC"""


@dataclass(frozen=True)
class Answer:
    """An own accepted answer."""

    id: str
    prompt: str
    """Id of the ground truth."""
    tokens: int
    """Target tokens, the end of the turn among them."""
    characters: int
    nll: float | None
    """Mean -log p of the target tokens, in nats; None where it is not scored."""
    hard: int
    """Target tokens with a perplexity above 2.5."""
    distance: int | None
    """Levenshtein distance to the ground truth's target tokens; None of the ground truth itself."""
    share: float | None
    """The distance as a share of the longer of the two."""


def tasks(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Tasks that have answers to compare."""
    sql = f"SELECT DISTINCT task FROM outcomes WHERE {_COMPARED} AND task IS NOT NULL ORDER BY task"
    return [row["task"] for row in _rows(connection, sql)]


def scorers(connection: duckdb.DuckDBPyConnection, task: str) -> list[str]:
    """Who scored records of the task: first who scored most of them, of equals the newest."""
    return [row["scorer"] for row in _rows(connection, _SCORERS, task=task)]


def sets(connection: duckdb.DuckDBPyConnection, task: str) -> list[dict[str, Any]]:
    """Sets of answers: kind, step, digests, prompts that ended, prompts answered, own rows, fallbacks."""
    return _rows(connection, _SETS, task=task)


def answers(connection: duckdb.DuckDBPyConnection, task: str, scorer: str | None) -> dict[str, list[Answer]]:
    """The own accepted answers of every set."""
    rows = _rows(connection, _ANSWERS, task=task, scorer=scorer or "")
    truths = {row["prompt"]: row["ids"] for row in rows if row["kind"] == "ground_truth"}
    found: dict[str, list[Answer]] = {}
    for row in rows:
        truth = None if row["kind"] == "ground_truth" else truths.get(row["prompt"])
        found.setdefault(row["set"], []).append(_answer(row, truth))
    return found


def _answer(row: dict[str, Any], truth: Sequence[int] | None) -> Answer:
    from rapidfuzz.distance import Levenshtein

    ids, distance, share = row["ids"], None, None
    if truth is not None:
        distance = Levenshtein.distance(ids, truth)
        share = distance / max(len(ids), len(truth), 1)
    return Answer(
        row["id"], row["prompt"], len(ids), row["characters"], row["nll"], row["hard"] or 0, distance, share
    )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **values: str) -> list[dict[str, Any]]:
    return list(connection.sql(sql, params=values).to_arrow_table().to_pylist())
