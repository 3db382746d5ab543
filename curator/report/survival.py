"""What became of every request, stage by stage, and of every record that was to be scored."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import duckdb

Role = Literal["passed", "fallback", "refused"]
FALLBACK = "fallback: "

# A record that was too long for the scorer may have been scored by it since, in windows: that counts.
_ENDED = f"""
    SELECT step, digest, stage, count(*) AS rows, min(created) AS first,
           CASE WHEN rejection IS NOT NULL THEN rejection.step
                WHEN status = 'accepted' AND fallback IS NOT NULL THEN '{FALLBACK}' || fallback
                ELSE 'passed' END AS ended,
           CASE WHEN rejection IS NOT NULL THEN 'refused'
                WHEN status = 'accepted' AND fallback IS NOT NULL THEN 'fallback' ELSE 'passed' END AS role,
           any_value(rejection.reason) AS example
    FROM outcomes WHERE $task::VARCHAR IS NULL OR task = $task GROUP BY ALL
    UNION ALL
    SELECT 'score', $scorer, 'score', count(*), min(s.created), coalesce(s.rejection, 'passed'),
           CASE WHEN s.rejection IS NULL THEN 'passed' ELSE 'refused' END, s.rejection
    FROM (SELECT id, CASE WHEN count(*) = count(rejection) THEN any_value(rejection) END AS rejection,
                 min(created) AS created
          FROM token_stats WHERE scorer = $scorer GROUP BY id) s JOIN records r USING (id)
    WHERE $task::VARCHAR IS NULL OR r.task = $task GROUP BY ALL"""

_ORDERED = f"""
    SELECT * FROM ({_ENDED})
    ORDER BY step = 'score' AND stage = 'score', min(first) OVER (PARTITION BY step, digest),
             min(first) OVER (PARTITION BY step, digest, stage), step, digest, stage,
             list_position(['passed', 'fallback', 'refused'], role), rows DESC, ended"""


@dataclass(frozen=True)
class Ending:
    """How some of a stage's rows ended."""

    name: str
    """`passed`, what stands in, or the filter that refused."""
    role: Role
    rows: int
    example: str | None
    """Why one of the refused rows was refused."""


@dataclass(frozen=True)
class Stage:
    """Rows that a stage ended, by how; what came in is what went out."""

    step: str
    digest: str
    stage: str
    endings: list[Ending]

    @property
    def rows(self) -> int:
        """All rows that came in."""
        return sum(ending.rows for ending in self.endings)

    @property
    def passed(self) -> int:
        """Rows that went on, or became records, as they were."""
        return sum(ending.rows for ending in self.endings if ending.role == "passed")


def survival(connection: duckdb.DuckDBPyConnection, scorer: str | None, task: str | None) -> list[Stage]:
    """Stages in the order they were worked in, at last the scoring by `scorer`; of one task, or of all rows."""
    found = (
        connection.sql(_ORDERED, params={"scorer": scorer or "", "task": task}).to_arrow_table().to_pylist()
    )
    return [
        Stage(*key, [Ending(row["ended"], row["role"], row["rows"], row["example"]) for row in rows])
        for key, rows in groupby(found, _stage)
    ]


def _stage(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["step"], row["digest"], row["stage"]
