"""Trainings as a store remembers them: what was measured before, during and after, and which went on from which."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any

import duckdb

from forgetless.curator.report.forgetting import Standing, standing

MOST = 200
"""Trainings that are shown: the newest."""

_RUNS = """
    SELECT run_id, name, seed, snapshot, min(created) AS created,
           any_value(model) FILTER (phase = 'before') AS base, any_value(model) FILTER (phase = 'after') AS model
    FROM evals WHERE phase IN ('before', 'after') OR phase LIKE 'step %'
    GROUP BY run_id, name, seed, snapshot ORDER BY min(created) DESC LIMIT $most"""
_FIGURES = """
    SELECT run_id, phase, task, role, metric, arg_max(value, created) AS value, arg_max(count, created) AS count
    FROM evals WHERE list_contains($runs, run_id) AND (phase IN ('before', 'after') OR phase LIKE 'step %')
    GROUP BY ALL ORDER BY min(created)"""
_STATES = """
    SELECT run_id, arg_max(event, created) AS event, arg_max(recipe, created) AS recipe
    FROM runs WHERE list_contains($runs, run_id) GROUP BY run_id"""


@dataclass(frozen=True)
class Measured:
    """One figure."""

    role: str
    value: float
    count: int


Figures = dict[tuple[str, str], Measured]
"""By task and metric."""


@dataclass(frozen=True)
class Change:
    """A figure before and after; None where it was not measured."""

    task: str
    role: str
    metric: str
    count: int
    before: float | None
    after: float | None


@dataclass
class Training:
    """One run of `forgetless train`, or one stage of it."""

    run_id: str
    name: str
    seed: int | None
    snapshot: int | None
    created: datetime
    base: str | None
    """Fingerprint of the model that it began with."""
    model: str | None
    """Of its checkpoint; None as long as that was not measured."""
    state: str = ""
    """The last event of the run: started, done, interrupted, failed; empty if the store knows of none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The recipe's `train`."""
    phases: dict[str, Figures] = field(default_factory=dict)

    @property
    def before(self) -> Standing:
        """The base."""
        return self._standing("before", "before")

    @property
    def after(self) -> Standing:
        """The checkpoint."""
        return self._standing("before", "after")

    @property
    def watched(self) -> dict[int, Standing]:
        """By step, over the few questions that were asked while training."""
        steps = sorted(int(name.split()[1]) for name in self.phases if name.startswith("step "))
        return {step: self._standing("step 0", f"step {step}") for step in steps} if 0 in steps else {}

    @property
    def retained(self) -> tuple[float | None, float | None]:
        """Mean accuracy over retained tasks, before and after."""
        return self._mean_retained("before"), self._mean_retained("after")

    @property
    def changes(self) -> list[Change]:
        """Targets first, accuracies before other measures."""
        before, after = self.phases.get("before", {}), self.phases.get("after", {})
        found = [
            Change(
                task, measured.role, metric, measured.count,
                _value(before.get((task, metric))), _value(after.get((task, metric))),
            )
            for (task, metric), measured in (before | after).items()
        ]  # fmt: skip
        return sorted(found, key=lambda c: (c.metric != "accuracy", c.role != "target"))

    def ordered(self, figures: Figures) -> Figures:
        """Tasks as the recipe has them; the others behind."""
        names = [task["name"] for task in self.settings.get("tasks") or []]
        place = {name: number for number, name in enumerate(names)}
        return dict(sorted(figures.items(), key=lambda item: place.get(item[0][0], len(place))))

    def accuracies(self, phase: str) -> dict[str, tuple[str, float]]:
        """Role and accuracy by task."""
        return {
            task: (found.role, found.value)
            for (task, metric), found in self.phases.get(phase, {}).items()
            if metric == "accuracy"
        }

    def _standing(self, first: str, phase: str) -> Standing:
        return standing(self.accuracies(first), self.accuracies(phase))

    def _mean_retained(self, phase: str) -> float | None:
        values = [value for role, value in self.accuracies(phase).values() if role == "retained"]
        return sum(values) / len(values) if values else None


def _value(measured: Measured | None) -> float | None:
    return measured.value if measured else None


def read_trainings(connection: duckdb.DuckDBPyConnection) -> list[Training]:
    """Those that a store holds figures of, the oldest first."""
    rows = _rows(connection, _RUNS, most=MOST)
    found = {row["run_id"]: Training(**row) for row in reversed(rows)}
    for row in _rows(connection, _STATES, runs=list(found)):
        training = found[row["run_id"]]
        training.state, training.settings = row["event"], json.loads(row["recipe"] or "{}").get("train") or {}
    for row in _rows(connection, _FIGURES, runs=list(found)):
        figures = found[row["run_id"]].phases.setdefault(row["phase"], {})
        figures[row["task"], row["metric"]] = Measured(row["role"], row["value"], row["count"])
    for training in found.values():
        training.phases = {name: training.ordered(figures) for name, figures in training.phases.items()}
    return list(found.values())


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(sql, params=given).to_arrow_table().to_pylist()
    return found


@dataclass(frozen=True)
class Row:
    """A model's accuracies in a matrix."""

    training: Training | None
    """None of the base."""
    depth: int
    """How many trainings it goes on from."""
    accuracies: list[float | None]


@dataclass(frozen=True)
class Family:
    """Trainings that began with one base, or with what others of them made."""

    base: str | None
    tasks: list[str]
    """Those that were taught, in order, then the others."""
    rows: list[Row]
    sequences: list[list[Training]]
    """Each from the first stage to a last one; only of several."""


def families(trainings: Sequence[Training]) -> list[Family]:
    """All that have accuracies, by base; the newest family first."""
    known = [each for each in trainings if each.accuracies("before")]
    parents = {each.run_id: _parent(each, known) for each in known}
    bases: dict[str | None, list[Training]] = {}
    for each in known:
        if parents[each.run_id] is None:
            bases.setdefault(each.base, []).append(each)
    return [_family(base, roots, known, parents) for base, roots in reversed(bases.items())]


def _parent(training: Training, others: Sequence[Training]) -> Training | None:
    """The one whose checkpoint it began with; of several that made the same one, that of the most similar name."""
    earlier = [
        other
        for other in others
        if other.model
        and other.model == training.base
        and other.model != other.base
        and other.created < training.created
    ]
    return max(
        earlier, key=lambda other: SequenceMatcher(None, other.name, training.name).ratio(), default=None
    )


def _family(
    base: str | None, roots: list[Training], known: list[Training], parents: dict[str, Training | None]
) -> Family:
    lines = [line for root in roots for line in _lines([root], known, parents)]
    members = list(dict.fromkeys(line[-1].run_id for line in lines))
    last = {line[-1].run_id: line for line in lines}
    tasks = _tasks([last[run_id][-1] for run_id in members])
    begun = roots[0].accuracies("before")
    rows = [Row(None, 0, [_accuracy(begun, task) for task in tasks])]
    for run_id in members:
        line = last[run_id]
        after = line[-1].accuracies("after")
        if after:
            rows.append(Row(line[-1], len(line) - 1, [_accuracy(after, task) for task in tasks]))
    ends = [
        line
        for line in lines
        if len(line) > 1 and not any(parents[each.run_id] is line[-1] for each in known)
    ]
    return Family(base, tasks, rows, ends)


def _lines(
    line: list[Training], known: list[Training], parents: dict[str, Training | None]
) -> Iterator[list[Training]]:
    """The line, and every one that goes on from it."""
    yield line
    for each in known:
        if parents[each.run_id] is line[-1]:
            yield from _lines([*line, each], known, parents)


def _tasks(trainings: Sequence[Training]) -> list[str]:
    asked = [each.accuracies("after") or each.accuracies("before") for each in trainings]
    taught = [task for figures in asked for task, (role, _) in figures.items() if role == "target"]
    return list(dict.fromkeys([*taught, *(task for figures in asked for task in figures)]))


def _accuracy(figures: dict[str, tuple[str, float]], task: str) -> float | None:
    return figures[task][1] if task in figures else None
