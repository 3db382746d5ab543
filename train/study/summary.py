"""A finished study as plain figures, and its files: study.json, study.md and a picture per finding."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from forgetless.curator.report.forgetting import seed_interval
from forgetless.curator.report.resampling import Interval
from forgetless.schemas.base import Frozen
from forgetless.schemas.study import PLAIN, Expectation, Finding, Setting, Study
from forgetless.train.study.outcome import Outcome
from forgetless.train.study.result import Result, Verdict, judge
from forgetless.train.study.runner import Runner, split


class TaskLine(Frozen):
    """Accuracy of one task."""

    task: str
    role: str
    before: float
    after: Interval


class CurvePoint(Frozen):
    """Means over the reported seeds."""

    at: str
    target: float
    kept: float
    tasks: list[float]


class Row(Frozen):
    """A method at its chosen setting."""

    row: str
    setting: Setting
    at: str
    """The step, or share of the tuned weights, that was chosen."""
    target: Interval
    kept: Interval
    tasks: list[TaskLine]
    curve: list[CurvePoint]


class Judged(Frozen):
    """An expectation and what the reported seeds say of it."""

    said: str
    verdict: Verdict


class Shown(Frozen):
    """A finding and what came out."""

    finding: Finding
    rows: list[Row]
    judged: list[Judged]
    text: list[str] = Field(default_factory=list)
    """What is said instead of a table."""
    picture: str | None = None
    """File name."""


class Summary(Frozen):
    """All that is printed of a study."""

    seeds: list[int]
    models: dict[str, int]
    """Parameters of each experiment's base model."""
    shown: list[Shown]
    sweeps: dict[str, list[CurvePoint]]
    """Plain tuning of each experiment: every setting of its sweep, on the choosing seeds."""
    runs: int
    seconds: float
    """Of all runs that the findings stand on, one after the other."""


def summarise(study: Study, findings: Sequence[Finding], runner: Runner, folder: Path) -> Summary:
    """Run what is missing, judge the findings, write the files into `folder`."""
    from forgetless.train.study.pictures import draw_finding
    from forgetless.train.study.tables import markdown

    results = runner.results()
    shown = [_shown(finding, results, runner, folder) for finding in findings]
    plain = {split(row)[0]: row for row in results if split(row)[1] == PLAIN}
    seconds = [
        outcome.seconds
        for row, result in results.items()
        for outcome in (*result.outcomes, *(o for tried in runner.tried(row).values() for o in tried))
    ]
    summary = Summary(
        seeds=study.seeds.report,
        models=runner.parameters(),
        shown=shown,
        sweeps={name: _sweep(runner, row) for name, row in plain.items()},
        runs=len(seconds),
        seconds=sum(seconds),
    )
    drawn = [
        one.model_copy(update={"picture": draw_finding(one, summary, folder) or one.picture}) for one in shown
    ]
    summary = summary.model_copy(update={"shown": drawn})
    (folder / "study.json").write_text(summary.model_dump_json(indent=2) + "\n")
    (folder / "study.md").write_text(markdown(summary))
    return summary


def _shown(finding: Finding, results: Mapping[str, Result], runner: Runner, folder: Path) -> Shown:
    if finding.show == "perplexity":
        picture = f"finding-{finding.number}.png"
        return Shown(
            finding=finding,
            rows=[],
            judged=[],
            text=_perplexities(runner, finding, folder / picture),
            picture=picture,
        )
    judged = [Judged(said=_said(e), verdict=judge(e, results)) for e in finding.expect]
    rows = [] if finding.show == "elsewhere" else [_row(results[row]) for row in finding.rows]
    return Shown(finding=finding, rows=rows, judged=judged)


def _perplexities(runner: Runner, finding: Finding, picture: Path) -> list[str]:
    """How hard each kind of target is for the base model, easiest first."""
    from forgetless.curator.report.comparison import compare
    from forgetless.curator.report.order import order
    from forgetless.curator.report.picture import draw_comparison

    comparison = compare(runner.store(finding.rows[0]))
    draw_comparison(comparison, picture)
    return order(comparison)


def _row(result: Result) -> Row:
    tasks = [
        TaskLine(task=asked.task, role=asked.role, before=asked.before, after=after)
        for asked, after in result.tasks
    ]
    return Row(
        row=result.row,
        setting=result.choice.setting,
        at=result.choice.at,
        target=seed_interval(result.values("target")),
        kept=seed_interval(result.values("kept")),
        tasks=tasks,
        curve=curve(result.outcomes),
    )


def curve(outcomes: Sequence[Outcome]) -> list[CurvePoint]:
    """Means over seeds at every measured step."""
    return [
        CurvePoint(
            at=point.at,
            target=fmean(o.target(o.point(point.at)) for o in outcomes),
            kept=fmean(o.kept(o.point(point.at)) for o in outcomes),
            tasks=[fmean(c) for c in zip(*(o.point(point.at).after for o in outcomes), strict=True)],
        )
        for point in outcomes[0].points
    ]


def _sweep(runner: Runner, row: str) -> list[CurvePoint]:
    return [
        point.model_copy(update={"at": f"{setting.learning_rate:g}, {point.at}"})
        for setting, outcomes in runner.tried(row).items()
        for point in curve(outcomes)
        if point.at != "0"
    ]


def _said(expected: Expectation) -> str:
    """The expectation in words."""
    than, other = ("above", expected.above) if expected.above is not None else ("below", expected.below)
    against = f"{other:.0%}" if isinstance(other, float) else other
    return f"{expected.measure} of {expected.row} {than} {against}"
