"""Running the cells of a study side by side; what is done is found again."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from forgetless.curator.models import parameters, resolve_model
from forgetless.curator.progress import Progress
from forgetless.curator.store import Store
from forgetless.schemas.errors import ForgetlessError
from forgetless.schemas.study import PLAIN, Finding, Setting, Study
from forgetless.train.study.cell import Built, Cell
from forgetless.train.study.outcome import Outcome, outcome_of
from forgetless.train.study.result import Choice, Result, best_target, choose

RunCell = Callable[[Cell], None]
"""Trains, and writes the outcome; a function of a module, since it is called in another process."""
LOG = "log.txt"


class Runner:
    """The methods that `findings` are about, each swept, chosen and reported.

    Args:
        built: of the experiments that the findings need, by name.
        jobs: cells at a time, each in a process with its share of the cores.
    """

    def __init__(
        self, study: Study, findings: Sequence[Finding], built: dict[str, Built], jobs: int, run: RunCell
    ) -> None:
        self._study, self._built, self._jobs, self._run = study, built, jobs, run
        self._rows = needed(study, findings)

    def _sweeps(self) -> list[Cell]:
        """What has to be run before settings can be chosen. Stages have nothing to choose: one run per seed."""
        return [
            cell
            for row in self._rows
            for setting in self._settings(row)
            for cell in self._cells(row, setting, self._study.seeds.choose)
        ] + [cell for row in self._rows if self._staged(row) for cell in self._reported(row)]

    def results(self) -> dict[str, Result]:
        """Run all that is missing; by row. ForgetlessError where one fails; those that are done are kept."""
        self._run_all(self._sweeps(), "settings")
        reported = {row: self._reported(row) for row in self._rows}
        self._run_all([cell for cells in reported.values() for cell in cells], "reported seeds")
        return {row: Result(row, self._choice(row), _outcomes(cells)) for row, cells in reported.items()}

    def tried(self, row: str) -> dict[Setting, list[Outcome]]:
        """The whole sweep of a row."""
        seeds = self._study.seeds.choose
        return {s: _outcomes(self._cells(row, s, seeds)) for s in self._settings(row)}

    def store(self, experiment: str) -> Store:
        """The store of an experiment."""
        return Store.open(self._built[experiment].recipe.store)

    def parameters(self) -> dict[str, int]:
        """Of each experiment's base model."""
        return {name: parameters(resolve_model(one.recipe.model)) for name, one in self._built.items()}

    def _choice(self, row: str) -> Choice:
        experiment, _ = split(row)
        if self._staged(row):
            setting = self._built[experiment].experiment.sweep[0]
            outcomes = _outcomes(self._cells(row, setting, self._study.seeds.report))
            last = outcomes[0].points[-1].at
            return Choice(setting, last, 0.0, 0.0)
        return choose(self.tried(row), best_target(self.tried(f"{experiment}/{PLAIN}")))

    def _reported(self, row: str) -> list[Cell]:
        first = self._built[split(row)[0]].experiment.sweep[0]
        setting = first if self._staged(row) else self._choice(row).setting
        return self._cells(row, setting, self._study.seeds.report)

    def _settings(self, row: str) -> Sequence[Setting]:
        return [] if self._staged(row) else self._built[split(row)[0]].experiment.sweep

    def _staged(self, row: str) -> bool:
        experiment, method = split(row)
        return "stages" in self._study.experiments[experiment].methods[method]

    def _cells(self, row: str, setting: Setting, seeds: list[int]) -> list[Cell]:
        experiment, method = split(row)
        return list(self._built[experiment].cells(method, setting, seeds))

    def _run_all(self, cells: list[Cell], what: str) -> None:
        missing = [cell for cell in cells if outcome_of(cell) is None]
        if not missing:
            return
        missing.sort(key=lambda cell: -cell.setting.steps)  # long ones first: no core waits long at the end
        with Progress(what, len(cells), len(cells) - len(missing)) as progress:
            for cell in _done(missing, self._jobs, self._run):
                progress.advance(1, cell.label)


def needed(study: Study, findings: Sequence[Finding]) -> list[str]:
    """Rows of the findings and of what they are held against, plain tuning of each experiment among them."""
    rows: list[str] = []
    for finding in findings:
        if finding.show in ("perplexity", "elsewhere"):
            continue
        rows += finding.rows
        for expected in finding.expect:
            rows += expected.rows
    plain = [f"{split(row)[0]}/{PLAIN}" for row in rows if PLAIN in _methods(study, row)]
    return list(dict.fromkeys([*plain, *rows]))


def experiments(study: Study, findings: Sequence[Finding]) -> list[str]:
    """Those that the findings need."""
    read = [row for finding in findings if finding.show == "perplexity" for row in finding.rows]
    return list(dict.fromkeys(split(row)[0] for row in [*needed(study, findings), *read]))


def split(row: str) -> tuple[str, str]:
    """Experiment and method of `code/plain`."""
    experiment, _, method = row.partition("/")
    return experiment, method


def _methods(study: Study, row: str) -> dict[str, dict[str, Any]]:
    return study.experiments[split(row)[0]].methods


def _outcomes(cells: Sequence[Cell]) -> list[Outcome]:
    found = [outcome_of(cell) for cell in cells]
    return [outcome for outcome in found if outcome]


def _done(cells: Sequence[Cell], jobs: int, run: RunCell) -> Iterator[Cell]:
    """The cells in the order in which they end."""
    if jobs > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read by the processes that begin now
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _end_when_told)
    try:
        futures = {pool.submit(_quietly, run, cell): cell for cell in cells}
        for future in as_completed(futures):
            cell = futures[future]
            if error := future.exception():
                log = cell.folder / LOG
                said = (
                    error.message
                    if isinstance(error, ForgetlessError)
                    else f"{type(error).__name__}: {error}"
                )
                raise ForgetlessError(f"{cell.label}: {said}", f"its log is {str(log)!r}") from error
            yield cell
    finally:
        for process in active_children():  # a run that is cut off goes on from its last checkpoint
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _end_when_told() -> None:
    """SIGTERM ends the run in a process, which then cleans up, instead of the process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _quietly(run: RunCell, cell: Cell) -> None:
    """What a run prints goes into its folder."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    _redirect(cell.folder / LOG)
    run(cell)


def _redirect(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
