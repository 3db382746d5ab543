"""All that a report on a store shows, read at one state of it and by one scorer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from forgetless.curator.report.answers import scorers, tasks
from forgetless.curator.report.comparison import Comparison, compare_answers
from forgetless.curator.report.distribution import Distribution, distributions
from forgetless.curator.report.examples import Example, prompt_examples, record_examples
from forgetless.curator.report.hardest import HardToken, hardest
from forgetless.curator.report.order import order
from forgetless.curator.report.survival import Stage, survival
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError

HARDEST = 15
"""Tokens listed of all kinds together, and of each."""

_COUNTS = """
    SELECT count(*) AS rows, count(*) FILTER (status = 'accepted') AS records,
           count(*) FILTER (status = 'rejected') AS rejected,
           count(*) FILTER (status = 'intermediate') AS intermediate,
           coalesce(sum(len(token_ids)) FILTER (status = 'accepted'), 0)::BIGINT AS tokens,
           coalesce(sum(list_sum(list_transform(target_spans, lambda s: s."end" - s.start)))
               FILTER (status = 'accepted'), 0)::BIGINT AS target_tokens
    FROM outcomes WHERE $task::VARCHAR IS NULL OR task = $task"""

_SCORERS = """
    SELECT s.scorer, any_value(s.model) AS model, any_value(s.dtype) AS dtype, any_value(s.engine) AS engine,
           count(DISTINCT s.id) FILTER (s.rejection IS NULL) AS scored, count(DISTINCT s.id) - scored AS refused,
           max(s.created) AS last
    FROM token_stats s JOIN records r USING (id) WHERE $task::VARCHAR IS NULL OR r.task = $task
    GROUP BY s.scorer ORDER BY scored = 0, last DESC, s.scorer"""

_MODELS = """
    SELECT model, list(DISTINCT step ORDER BY step) AS steps, count(*) AS rows FROM outcomes
    WHERE model IS NOT NULL AND ($task::VARCHAR IS NULL OR task = $task) GROUP BY model ORDER BY min(created)"""


@dataclass(frozen=True)
class Versions:
    """A task's answers held against each other."""

    comparison: Comparison
    sentences: list[str]
    examples: list[Example]


@dataclass(frozen=True)
class Overview:
    """What there is to be said of a store."""

    name: str
    """Of the store's folder, and of the one that it is in."""
    made: datetime
    snapshot: int | None
    """The one it was read at; None: as it was when the report was made."""
    task: str | None
    """The one it is limited to; None: all rows."""
    counts: dict[str, int]
    models: list[dict[str, Any]]
    """Who wrote rows: model, steps, rows."""
    scorer: dict[str, Any] | None
    """Whose figures these are; None where nothing is scored."""
    other_scorers: list[str]
    stages: list[Stage]
    distributions: list[Distribution]
    versions: list[Versions]
    records: list[Example]
    """Single records, where no prompt has several answers."""
    hardest: list[HardToken]

    @property
    def unscored(self) -> int:
        """Records that the scorer has neither scored nor refused."""
        known = self.scorer["scored"] + self.scorer["refused"] if self.scorer else 0
        return self.counts["records"] - known


def read_overview(
    store: Store,
    scorer: str | None = None,
    task: str | None = None,
    snapshot: int | None = None,
    examples: int = 5,
) -> Overview:
    """The store at a snapshot or now, by one scorer: the one whose name begins so, or the newest.

    Raises:
        UsageError: no such task, scorer or snapshot.
    """
    with store.connect(snapshot) as connection:
        _check_task(connection, task)
        known = _rows(connection, _SCORERS, task)
        chosen = _chosen(known, scorer)
        name = chosen["scorer"] if chosen else None
        versions = [
            _versions(connection, each, name, examples) for each in tasks(connection) if task in (None, each)
        ]
        has_examples = any(each.examples for each in versions)
        return Overview(
            name="/".join(store.path.resolve().parts[-2:]).lstrip("/"), made=datetime.now(UTC), snapshot=snapshot, task=task,
            counts=_rows(connection, _COUNTS, task)[0], models=_rows(connection, _MODELS, task),
            scorer=chosen, other_scorers=[row["scorer"] for row in known if row is not chosen],
            stages=survival(connection, name, task),
            distributions=distributions(connection, name, task) if name else [],
            versions=versions,
            records=record_examples(connection, name, task, examples) if name and not has_examples else [],
            hardest=hardest(connection, name, task, HARDEST) if name else [],
        )  # fmt: skip


def _versions(
    connection: duckdb.DuckDBPyConnection, task: str, scorer: str | None, examples: int
) -> Versions:
    used = scorer if scorer in scorers(connection, task) else None
    comparison, own = compare_answers(connection, task, used)
    return Versions(comparison, order(comparison), prompt_examples(connection, comparison, own, examples))


def _check_task(connection: duckdb.DuckDBPyConnection, task: str | None) -> None:
    sql = "SELECT DISTINCT task FROM outcomes WHERE task IS NOT NULL ORDER BY task"
    known = [row[0] for row in connection.sql(sql).fetchall()]
    if task is not None and task not in known:
        listed = f"one of {', '.join(map(repr, known))}" if known else "no row has a task; leave --task away"
        raise UsageError(f"there is no task {task!r}", listed)


def _chosen(known: Sequence[dict[str, Any]], wanted: str | None) -> dict[str, Any] | None:
    if wanted is None:
        return known[0] if known else None
    found = [row for row in known if row["scorer"].startswith(wanted)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(row["scorer"] for row in known) or "none"
    problem = "several scorers begin" if found else "no record is scored by one that begins"
    raise UsageError(f"{problem} with {wanted!r}", f"its scorers: {listed}")


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, task: str | None) -> list[dict[str, Any]]:
    return list(connection.sql(sql, params={"task": task}).to_arrow_table().to_pylist())
