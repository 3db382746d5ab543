"""A finished training as its folder and its store hold it."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forgetless.curator.report.forgetting import Standing, standing
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.model import Model
from forgetless.schemas.training import Training
from forgetless.train.output import ASKED, CURVE, Output
from forgetless.train.report import Figure, TrainingReport

NLL = "nll/"
"""What the loss of a source is called in `steps.jsonl`."""

_WATCHED = """
    SELECT replace(phase, 'step ', '')::INT AS step, task, role, metric, value, count, key
    FROM evals WHERE run_id = $run AND phase LIKE 'step %' ORDER BY step, created"""
_RECIPE = "SELECT recipe FROM runs WHERE run_id = $run ORDER BY created DESC LIMIT 1"


@dataclass(frozen=True)
class Run:
    """One training."""

    folder: Path
    report: TrainingReport
    asked: dict[str, Any]
    """What decided its outcome: model, snapshot, settings."""
    settings: Training
    losses: dict[str, list[tuple[int, float]]]
    """Source → (step, nats per target token)."""
    store: Store | None
    """None where it is not there any more."""
    watched: dict[int, Standing]
    """By step, over the few questions that were asked while training; empty where nothing was watched."""
    base: Model | None
    """The base model, as the store knows it."""

    @property
    def steps(self) -> int:
        """Optimiser steps that were done; fewer than planned where a forgetting budget ended it."""
        return max((step for line in self.losses.values() for step, _ in line), default=0)

    @property
    def before(self) -> Standing:
        """The base."""
        figures = self._figures("before")
        return standing(figures, figures)

    @property
    def after(self) -> Standing:
        """The checkpoint."""
        return standing(self._figures("before"), self._figures("after"))

    @property
    def averages(self) -> dict[float, Standing]:
        """By alpha, from the base to the tuned weights."""
        before = self._figures("before")
        return {point.alpha: standing(before, _accuracies(point.figures)) for point in self.report.averages}

    def _figures(self, when: str) -> dict[str, tuple[str, float]]:
        names = {task.name for task in self.settings.tasks}
        return {
            c.task: (c.role, c.before if when == "before" else c.after)
            for c in self.report.changes
            if c.metric == "accuracy" and c.task in names
        }


def read_run(folder: Path, store: Path | None = None) -> Run:
    """The run in `folder`, with the figures that its store, or the one at `store`, holds of it.

    Raises:
        UsageError: no run, or none that is finished.
    """
    report, asked = _report(folder), _json(folder / ASKED)
    try:
        settings = Training.model_validate({**asked["train"], "output": folder})
    except (ValidationError, KeyError, TypeError):
        raise UsageError(
            f"{str(folder / ASKED)!r} has settings that this version does not know",
            "use the version that made the run",
        ) from None
    found = _store(report, store)
    return Run(
        folder, report, asked, settings, _losses(folder), found,
        _watched(found, report.run_id) if found else {}, _base(found, report.run_id) if found else None,
    )  # fmt: skip


def is_run(folder: Path) -> bool:
    """Whether a training, finished or not, is in this folder."""
    return (folder / ASKED).is_file()


def runs_in(folder: Path) -> list[Path]:
    """Folders in `folder` that hold a run: its stages or epochs."""
    return sorted(file.parent for file in folder.glob(f"*/{ASKED}")) if folder.is_dir() else []


def _report(folder: Path) -> TrainingReport:
    if not is_run(folder):
        inside = " ".join(str(each) for each in runs_in(folder))
        raise UsageError(
            f"{str(folder)!r} is no output folder of `forgetless train`",
            f"it holds several, to be named instead: {inside}" if inside else "name what `train.output` says",
        )
    report = Output(folder).report()
    if report is None:
        raise UsageError(
            f"run {str(folder)!r} is not finished",
            "the same `forgetless train` command goes on where it stopped",
        )
    return report


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except ValueError:
        raise UsageError(f"{str(file)!r} is damaged", "restore it, or train again") from None


def _store(report: TrainingReport, given: Path | None) -> Store | None:
    if given:
        return Store.open(given)
    path = Path(report.store) if report.store else None
    return Store.open(path) if path and path.is_dir() else None


def _losses(folder: Path) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    file = folder / CURVE
    for row in map(json.loads, file.read_text().splitlines()) if file.is_file() else []:
        for name, value in row.items():
            if name.startswith(NLL):
                lines[name.removeprefix(NLL)].append((row["step"], value))
    return dict(sorted(lines.items(), key=lambda line: (line[0] != "targets", line[0])))


def _watched(store: Store, run_id: str) -> dict[int, Standing]:
    by_step: dict[int, list[Figure]] = defaultdict(list)
    for row in _rows(store, _WATCHED, run_id):
        by_step[row.pop("step")].append(Figure(**row))
    figures = {step: _accuracies(found) for step, found in by_step.items()}
    return {step: standing(figures[0], found) for step, found in figures.items()} if 0 in figures else {}


def _base(store: Store, run_id: str) -> Model | None:
    rows = _rows(store, _RECIPE, run_id)
    try:
        return Model.model_validate(json.loads(rows[0]["recipe"])["model"]) if rows else None
    except (ValidationError, KeyError):  # written by another version
        return None


def _rows(store: Store, sql: str, run_id: str) -> list[dict[str, Any]]:
    with store.connect(query=sql) as connection:
        return list(connection.sql(sql, params={"run": run_id}).to_arrow_table().to_pylist())


def _accuracies(figures: Iterable[Figure]) -> dict[str, tuple[str, float]]:
    return {f.task: (f.role, f.value) for f in figures if f.metric == "accuracy"}
