"""What `forgetless study` compares, and which findings the comparisons are to show."""

from typing import Any, Literal

from pydantic import Field, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.model import RecipePath

PLAIN = "plain"
"""The method that all others of an experiment are held against: tuning on the task's targets and nothing else."""


class Setting(Frozen):
    """One point of a sweep."""

    learning_rate: float = Field(gt=0)
    """Constant after the warmup, so that the run up to any step is a run of so many steps."""
    steps: int = Field(ge=1)
    """Optimiser steps."""


class Seeds(Frozen):
    """Settings are chosen on some seeds and reported on others."""

    choose: list[int] = Field([0], min_length=1)
    """Every setting of the sweep is tried with these."""
    report: list[int] = Field([1, 2, 3], min_length=1)
    """The chosen setting is run with these, and only they are reported."""

    @model_validator(mode="after")
    def _apart(self) -> "Seeds":
        if both := set(self.choose) & set(self.report):
            raise ValueError(f"{sorted(both)} would choose the settings that it reports: use other seeds")
        return self


class Experiment(Frozen):
    """A base model, a task, and ways of teaching it, all with the same sweep."""

    recipe: RecipePath
    """What is built, how it is trained, what is asked; `tasks` of role target and retained."""
    set: list[str] = Field(default_factory=list)
    """Overrides of the recipe, as --set takes them."""
    sweep: list[Setting] = Field(min_length=1)
    """Tried for every method."""
    every: int = Field(50, ge=1)
    """Steps between measurements; each of them is a setting of its own."""
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    """By name: what each changes of the recipe's `train`."""


class Expectation(Frozen):
    """What a finding claims of a method, in a form that figures can contradict. `code/plain@200` is a row at another
    point than the chosen one: after a step, or after a stage."""

    row: str
    """Experiment and method: `code/plain`."""
    measure: str = "kept"
    """target: accuracy of what was taught. kept: mean over retained tasks of accuracy after / before. Else the
    accuracy of the task of that name."""
    above: str | float | None = None
    """Another row, compared seed by seed, or a number in 0..1."""
    below: str | float | None = None
    """Another row, compared seed by seed, or a number in 0..1."""

    @property
    def rows(self) -> list[str]:
        """All that it names, without points."""
        return [r.partition("@")[0] for r in (self.row, self.above, self.below) if isinstance(r, str)]

    @model_validator(mode="after")
    def _one_side(self) -> "Expectation":
        if (self.above is None) == (self.below is None):
            raise ValueError(f"what is expected of {self.row!r} is either `above` or `below` something")
        return self


class Finding(Frozen):
    """One thing that the study is to show or to contradict."""

    number: int | str
    """By which it is asked for."""
    title: str
    """The claim."""
    show: Literal["methods", "tasks", "steps", "stages", "perplexity", "elsewhere"] = "methods"
    """methods: target and kept of each row. tasks: every task of each row. steps: both over the steps. stages: the
    matrix of tasks after each stage. perplexity: of the kinds of targets. elsewhere: a note alone."""
    rows: list[str] = Field(default_factory=list)
    """Experiments and methods, `code/plain`; with `perplexity` an experiment."""
    tasks: list[str] = Field(default_factory=list)
    """With `steps`: tasks that stand beside target and kept."""
    expect: list[Expectation] = Field(default_factory=list)
    """Judged on the reported seeds."""
    note: str = ""
    """What a reader should know."""


class Study(Frozen):
    """Experiments and the findings they bear on."""

    seeds: Seeds = Seeds()
    """Which choose, and which are reported."""
    experiments: dict[str, Experiment]
    """By name."""
    findings: list[Finding]
    """In the order in which they are printed."""

    @model_validator(mode="after")
    def _known_rows(self) -> "Study":
        known = {f"{name}/{method}" for name, e in self.experiments.items() for method in e.methods}
        for finding in self.findings:
            for row in [*finding.rows, *(row for e in finding.expect for row in e.rows)]:
                if row not in known and not (finding.show == "perplexity" and row in self.experiments):
                    raise ValueError(
                        f"finding {finding.number}: there is no {row!r} among {', '.join(known)}"
                    )
        return self

    @model_validator(mode="after")
    def _has_plain(self) -> "Study":
        for name, experiment in self.experiments.items():
            staged = all("stages" in changes for changes in experiment.methods.values())
            if PLAIN not in experiment.methods and not staged:
                raise ValueError(f"experiment {name!r} needs a method {PLAIN!r} to hold the others against")
        return self
