"""What a training run did and what it cost: plain records, and the table people read."""

from datetime import UTC, datetime

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from forgetless.schemas.base import Frozen


class SourcePlan(Frozen):
    """One source of replay."""

    name: str
    records: int
    """Records mixed in."""
    tokens: int
    """Their target tokens."""
    share: float
    """Per target, actually reached, in `unit`."""
    unit: str
    """examples or tokens"""


class TrainingPlan(Frozen):
    """What a run will train on."""

    snapshot: int
    """Snapshot that is read."""
    targets: int
    """Records to learn."""
    replay: list[SourcePlan]
    """What is mixed in."""
    held_out: int
    """Records kept for measuring."""
    tokens: int
    """Tokens of one pass, prompts included."""
    target_tokens: int
    """Tokens of one pass that may be trained on."""
    masked_tokens: int
    """Target tokens left out of the loss."""
    masked_share: float
    """Masked tokens among those in play."""
    mean_weight: float
    """Of the targets' tokens under the stored objectives. Divided by tokens (`normalise`), the step is so much of one
    without them; divided by weights it is as long."""
    rows: int
    """Packed sequences in all passes."""
    steps: int
    """Optimiser steps."""
    warnings: list[str] = Field(default_factory=list)
    """What is not as the recipe wanted it."""


class Figure(Frozen):
    """One measured value."""

    task: str
    role: str
    metric: str
    """cross_entropy or kl in nats per token; accuracy, repetition, cut_off, refusal, harm, coherence, valid_json in
    0..1"""
    value: float
    count: int
    """Questions, answers, or tokens."""
    key: str
    """Digest of all that decides the value."""


class Change(Frozen):
    """A figure before and after."""

    task: str
    role: str
    metric: str
    count: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before


class Averaged(Frozen):
    """One point between base and tuned."""

    alpha: float
    """Share of the tuned weights."""
    figures: list[Figure]
    kept: bool = False
    """Whether these are the checkpoint's weights."""


class TrainingReport(Frozen):
    """A finished run; written last, so that its existence means the checkpoint is whole."""

    name: str
    run_id: str
    recipe: str
    """Digest of what was asked for."""
    base: str
    """Fingerprint of the model before."""
    model: str
    """Fingerprint of the checkpoint."""
    checkpoint: str
    """Its folder."""
    store: str | None = None
    """Folder of the store that holds its records and figures; a run of before this was written down has none."""
    plan: TrainingPlan
    changes: list[Change]
    averages: list[Averaged] = Field(default_factory=list)
    """The curve from base to tuned, where `train.average` asked for it."""
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


def changes(before: list[Figure], after: list[Figure]) -> list[Change]:
    """Pairs of figures, targets first, then what is retained, and the mean of its accuracies."""
    pairs = [
        Change(task=b.task, role=b.role, metric=b.metric, count=b.count, before=b.value, after=a.value)
        for b, a in zip(before, after, strict=True)
    ]
    tasks = [c for c in pairs if c.metric == "accuracy"]
    retained = [c for c in tasks if c.role == "retained"]
    mean = (
        [
            Change(
                task="mean retained",
                role="retained",
                metric="accuracy",
                count=sum(c.count for c in retained),
                before=sum(c.before for c in retained) / len(retained),
                after=sum(c.after for c in retained) / len(retained),
            )
        ]
        if len(retained) > 1
        else []
    )
    targets = [c for c in tasks if c.role == "target"]
    return targets + retained + mean + [c for c in pairs if c.metric != "accuracy"]


def plan_table(plan: TrainingPlan) -> Table:
    """What `--dry-run` prints."""
    out = Table(show_header=False, box=None)
    rows = [
        ("snapshot", f"{plan.snapshot}"),
        ("targets", f"{plan.targets:,} records"),
        *(
            (s.name, f"{s.records:,} records mixed in, {s.share:.3f} per target in {s.unit}")
            for s in plan.replay
        ),
        ("held out", f"{plan.held_out:,} records"),
        ("tokens in one pass", f"{plan.tokens:,}, of which {plan.target_tokens:,} are targets"),
        ("masked", f"{plan.masked_tokens:,} targets, {plan.masked_share:.1%} of those in play"),
        ("mean weight", f"{plan.mean_weight:.3f} per target token, before training decides over any"),
        ("work", f"{plan.rows:,} sequences in {plan.steps:,} optimiser steps"),
        *(("warning", warning) for warning in plan.warnings),
    ]
    for row in rows:
        out.add_row(*row)
    return out


def change_table(report: TrainingReport) -> Table:
    """The forgetting table."""
    out = _table(f"{report.name}: what was learned and what was lost", ("before", "after", "change"))
    for c in report.changes:
        unit, scale, form = unit_of(c.metric)
        values = (f"{c.before * scale:{form}}", f"{c.after * scale:{form}}", f"{c.change * scale:+{form}}")
        out.add_row(c.task, c.role, unit, *values, end_section=c.role == "target")
    return out


def average_table(report: TrainingReport) -> Table:
    """The curve from base to tuned: a line for each alpha."""
    out = Table(title=f"{escape(report.name)}: averages with the base", box=SIMPLE_HEAD)
    out.add_column("alpha", no_wrap=True)
    for figure in report.averages[0].figures:
        out.add_column(f"{escape(figure.task)}, {unit_of(figure.metric)[0]}", justify="right")
    for point in report.averages:
        units = [(figure.value, *unit_of(figure.metric)) for figure in point.figures]
        cells = [f"{value * scale:{form}}" for value, _, scale, form in units]
        out.add_row(f"{point.alpha:g}{', kept' if point.kept else ''}", *cells)
    return out


def epochs_table(reports: list[TrainingReport]) -> Table:
    """The forgetting table of a training in epochs of their own: before, and after each."""
    names = ("before", *(f"epoch {number + 1}" for number in range(len(reports))))
    out = _table(f"{reports[-1].checkpoint}: what was learned and what was lost", names)
    for rows in zip(*(report.changes for report in reports), strict=True):
        unit, scale, form = unit_of(rows[0].metric)
        values = [f"{value * scale:{form}}" for value in (rows[0].before, *(row.after for row in rows))]
        out.add_row(rows[0].task, rows[0].role, unit, *values, end_section=rows[0].role == "target")
    return out


def _table(title: str, figures: tuple[str, ...]) -> Table:
    out = Table(title=title, box=SIMPLE_HEAD)
    out.add_column("task")
    for name in ("role", "measure"):
        out.add_column(name, no_wrap=True)
    for name in figures:
        out.add_column(name, justify="right", no_wrap=True)
    return out


def figure_table(name: str, figures: list[Figure]) -> Table:
    """What `forgetless eval` prints."""
    out = _table(escape(name), ("value", "of"))
    for figure in figures:
        unit, scale, form = unit_of(figure.metric)
        value = f"{figure.value * scale:{form}}"
        out.add_row(escape(figure.task), figure.role, unit, value, f"{figure.count:,}")
    return out


def unit_of(metric: str) -> tuple[str, int, str]:
    """A metric with its unit (nats are per token), factor and format."""
    name = metric.replace("_", " ")
    if metric in ("cross_entropy", "kl"):
        return f"{name}, nats", 1, ".4f" if metric == "kl" else ".3f"
    return f"{name}, %", 100, ".1f"
