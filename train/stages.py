"""Several tasks one after the other, or each from the same base, and how all of them fare after each."""

from collections.abc import Iterator
from math import isnan

from rich.table import Table

from forgetless.curator.progress import note
from forgetless.curator.report.forgetting import (
    Transfer,
    average_accuracy,
    backward_transfer,
    forgetting,
    retained_share,
    sequence_transfer,
)
from forgetless.schemas.base import Frozen
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.training import Replay
from forgetless.train.report import TrainingReport
from forgetless.train.run import train


class StagesReport(Frozen):
    """What every stage did."""

    chained: bool
    """Whether each went on from the one before."""
    taught: list[str]
    """The tasks, in the order of the stages."""
    reports: list[TrainingReport]

    @property
    def tasks(self) -> list[str]:
        """Those that were taught, then the others that were asked."""
        asked = [
            c.task for c in self.reports[0].changes if c.metric == "accuracy" and c.task != "mean retained"
        ]
        return self.taught + [task for task in asked if task not in self.taught]

    def accuracies(self, report: TrainingReport | None) -> list[float]:
        """Of all tasks after a stage; of the base for None."""
        source = report or self.reports[0]
        found = {c.task: c.after if report else c.before for c in source.changes if c.metric == "accuracy"}
        return [found[task] for task in self.tasks]

    @property
    def matrix(self) -> list[list[float]]:
        """[stages][taught tasks] accuracies."""
        return [self.accuracies(report)[: len(self.taught)] for report in self.reports]

    def summary(self) -> dict[str, float | Transfer]:
        """The figures of the field; see `forgetting.py`."""
        if self.chained:
            return {
                "average accuracy": average_accuracy(self.matrix),
                "backward transfer": sequence_transfer(self.matrix),
                "forgetting": forgetting(self.matrix),
                "retained share of what was not taught": self._untaught(),
            }
        base = self.accuracies(None)
        others = [
            ([b for j, b in enumerate(base) if j != i], [a for j, a in enumerate(after) if j != i])
            for i, after in enumerate(map(self.accuracies, self.reports))
        ]
        own = [row[i] for i, row in enumerate(self.matrix)]
        transfers = [backward_transfer(*pair) for pair in others]
        return {
            "average accuracy on the own task": sum(own) / len(own),
            "mean transfer to the others": Transfer(
                relative=sum(t.relative for t in transfers) / len(transfers),
                absolute=sum(t.absolute for t in transfers) / len(transfers),
            ),
        }

    def _untaught(self) -> float:
        rest = slice(len(self.taught), None)
        return retained_share(self.accuracies(None)[rest], self.accuracies(self.reports[-1])[rest])


def train_stages(recipe: Recipe) -> StagesReport:
    """Every stage as a run of its own; those that are done already are found again."""
    assert recipe.train
    reports: list[TrainingReport] = []
    for name, alone in stage_recipes(recipe):
        note(f"stage {len(reports) + 1} of {len(recipe.train.stages)}: {name}")
        reports.append(train(alone))
    taught = [stage.name for stage in recipe.train.stages]
    return StagesReport(chained=recipe.train.chained, taught=taught, reports=reports)


def stage_recipes(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Name and recipe of each stage."""
    training, model = recipe.train, recipe.model
    assert training
    rehearsed: list[Replay] = []
    for stage in training.stages:
        output = training.output / stage.name
        roles = [
            task.model_copy(update={"role": "target" if task.name == stage.name else "retained"})
            for task in training.tasks
        ]
        alone = {
            "output": output, "name": f"{training.name or training.output.name}-{stage.name}", "stages": [],
            "targets": stage.targets, "replay": training.replay + rehearsed, "tasks": roles, "rehearsal": None,
        }  # fmt: skip
        yield (
            stage.name,
            recipe.model_copy(update={"model": model, "train": training.model_copy(update=alone)}),
        )
        if training.chained:  # a checkpoint brings its own template
            model = recipe.model.model_copy(
                update={"path": str(output), "revision": None, "chat_template": None}
            )
        if training.rehearsal:
            quota = training.rehearsal
            rehearsed = [
                *rehearsed,
                Replay(name=stage.name, sql=stage.targets, share=quota.share, unit=quota.unit),
            ]


def stages_table(report: StagesReport) -> Table:
    """The matrix: a line for the base and for each stage, a column for each task."""
    how = "one after the other" if report.chained else "each from the same base"
    title = f"accuracy % after each stage, {how}"
    out = Table(title=title, box=None, header_style="bold", min_width=len(title) + 2)
    out.add_column("after")
    for task in report.tasks:
        out.add_column(task, justify="right")
    rows = [("base", report.accuracies(None))]
    rows += [(name, report.accuracies(r)) for name, r in zip(report.taught, report.reports, strict=True)]
    for name, accuracies in rows:
        cells = [f"{100 * value:.1f}" for value in accuracies]
        own = report.tasks.index(name) if name in report.taught else -1
        out.add_row(
            name, *(f"[bold]{cell}[/bold]" if place == own else cell for place, cell in enumerate(cells))
        )
    return out


def summary_lines(report: StagesReport) -> list[str]:
    """The summary in words."""
    return [f"{name}: {_said(value)}" for name, value in report.summary().items()]


def _said(value: float | Transfer) -> str:
    if not isinstance(value, Transfer):
        return f"{value:.1%}"
    share = "" if isnan(value.relative) else f" ({value.relative:+.1%} of what was there)"
    return f"{100 * value.absolute:+.1f} points{share}"
