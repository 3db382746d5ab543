"""What came of a cell: accuracies of every task at every step that was measured."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from forgetless.curator.report.forgetting import retained_share
from forgetless.curator.store import Store
from forgetless.schemas.base import Frozen
from forgetless.train.report import Figure, TrainingReport
from forgetless.train.study.cell import Cell
from forgetless.train.watch import WATCH

FILE = "outcome.json"


class Asked(Frozen):
    """A task and what the base makes of it."""

    task: str
    role: str
    before: float
    """Accuracy of the base."""


class Point(Frozen):
    """A model on the way."""

    at: str
    """Steps, or share of the tuned weights, or what was taught last."""
    after: list[float]
    """Accuracy of each task."""


class Outcome(Frozen):
    """All that a study needs to know of a cell."""

    tasks: list[Asked]
    points: list[Point]
    seconds: float

    def target(self, point: Point) -> float:
        """Mean accuracy of what was taught, in 0..1."""
        taught = [a for asked, a in zip(self.tasks, point.after, strict=True) if asked.role == "target"]
        return sum(taught) / len(taught)

    def kept(self, point: Point) -> float:
        """Mean over retained tasks of after / before."""
        pairs = zip(self.tasks, point.after, strict=True)
        old = [(asked.before, after) for asked, after in pairs if asked.role == "retained"]
        return retained_share([before for before, _ in old], [after for _, after in old])

    def value(self, measure: str, point: Point) -> float:
        """`target`, `kept`, or the accuracy of the task of that name."""
        if measure in ("target", "kept"):
            return self.target(point) if measure == "target" else self.kept(point)
        return point.after[[task.task for task in self.tasks].index(measure)]

    def point(self, at: str) -> Point:
        """The one with this label."""
        return next(point for point in self.points if point.at == at)


def outcome_of(cell: Cell) -> Outcome | None:
    """None where the cell has not been run to its end."""
    file = cell.folder / FILE
    return Outcome.model_validate_json(file.read_text()) if file.is_file() else None


def write_outcome(cell: Cell, reports: Sequence[TrainingReport], seconds: float) -> None:
    """Keep what the runs of a cell measured, with which it is done, and drop the weights."""
    first = [c for c in reports[0].changes if c.metric == "accuracy" and c.task != "mean retained"]
    stages = cell.recipe.train.stages if cell.recipe.train else []
    taught = {stage.name for stage in stages} or {c.task for c in first if c.role == "target"}
    tasks = [
        Asked(task=c.task, role="target" if c.task in taught else "retained", before=c.before) for c in first
    ]
    if stages:
        points = [
            Point(at=stage.name, after=_afters(report, tasks))
            for stage, report in zip(stages, reports, strict=True)
        ]
    elif reports[-1].averages:
        points = [
            Point(at=f"{average.alpha:g}", after=[_value(average.figures, t.task) for t in tasks])
            for average in reports[-1].averages
        ]
    else:
        points = _watched(cell, reports, tasks)
    for weights in (cell.folder / "run").rglob("*.safetensors"):
        weights.unlink()
    for states in (cell.folder / "run").rglob("checkpoints"):
        shutil.rmtree(states)
    new = cell.folder / f"{FILE}.new"
    new.write_text(Outcome(tasks=tasks, points=points, seconds=seconds).model_dump_json(indent=2) + "\n")
    new.replace(cell.folder / FILE)


def _watched(cell: Cell, reports: Sequence[TrainingReport], tasks: Sequence[Asked]) -> list[Point]:
    """Those of all runs of the cell, one behind the other; the base comes first."""
    points = [Point(at="0", after=[task.before for task in tasks])]
    done = 0
    for report in reports:
        found = _rows(cell.recipe.store, report.run_id)
        steps = sorted(step for step in found if 0 < step < report.plan.steps)
        points += [Point(at=str(done + step), after=[found[step][t.task] for t in tasks]) for step in steps]
        done += report.plan.steps
        points.append(Point(at=str(done), after=_afters(report, tasks)))
    return points


def _rows(store: Path, run_id: str) -> dict[int, dict[str, float]]:
    """Accuracies while training, by step and task."""
    prefix = WATCH.format("")
    rows = Store.open(store).query(
        f"SELECT phase, task, value FROM evals WHERE run_id = '{run_id}' AND metric = 'accuracy'"
        f" AND phase LIKE '{prefix}%'"
    )
    found: dict[int, dict[str, float]] = {}
    for row in rows.to_pylist():
        found.setdefault(int(row["phase"].removeprefix(prefix)), {})[row["task"]] = row["value"]
    return found


def _afters(report: TrainingReport, tasks: Sequence[Asked]) -> list[float]:
    found = {c.task: c.after for c in report.changes if c.metric == "accuracy"}
    return [found[task.task] for task in tasks]


def _value(figures: Sequence[Figure], task: str) -> float:
    return next(f.value for f in figures if f.task == task and f.metric == "accuracy")
