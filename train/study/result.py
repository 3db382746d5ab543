"""What a study found out about its methods: the chosen setting and the figures of the seeds that did not choose it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from forgetless.curator.report.forgetting import seed_interval
from forgetless.curator.report.resampling import Interval
from forgetless.schemas.study import Expectation, Setting
from forgetless.train.study.outcome import Asked, Outcome

WITHIN = 0.01
"""Of the best target accuracy of plain tuning: what counts as having learned the task."""

Tried = Mapping[Setting, Sequence[Outcome]]
"""Outcomes of the choosing seeds, by setting."""
Verdict = Literal["yes", "on average", "no"]
"""yes: the whole 95 % interval over seeds lies on the expected side; on average: the mean alone does."""


@dataclass(frozen=True)
class Choice:
    """A setting of a method, and the step of it that is its result."""

    setting: Setting
    at: str
    target: float
    """Mean over the choosing seeds."""
    kept: float


@dataclass(frozen=True)
class Result:
    """A method at its chosen setting, on the reported seeds."""

    row: str
    choice: Choice
    outcomes: Sequence[Outcome]
    """One per seed."""

    def values(self, measure: str, at: str = "") -> list[float]:
        """Of target, kept or a task, one per seed, at a point; the chosen one if not given."""
        return [o.value(measure, o.point(at or self.choice.at)) for o in self.outcomes]

    @property
    def tasks(self) -> list[tuple[Asked, Interval]]:
        """Accuracy of every task with its interval over seeds."""
        columns = zip(*(o.point(self.choice.at).after for o in self.outcomes), strict=True)
        return [(t, seed_interval(c)) for t, c in zip(self.outcomes[0].tasks, columns, strict=True)]


def points(tried: Tried) -> list[Choice]:
    """Every setting and every measured step of it, over the choosing seeds."""
    return [
        Choice(
            setting,
            point.at,
            fmean(o.target(o.point(point.at)) for o in outcomes),
            fmean(o.kept(o.point(point.at)) for o in outcomes),
        )
        for setting, outcomes in tried.items()
        for point in outcomes[0].points
        if point.at != "0"
    ]


def choose(tried: Tried, goal: float) -> Choice:
    """Of what reaches `goal`, the best target accuracy of plain tuning, within a point: that which keeps most. Where
    nothing does: that which learns most."""
    every = points(tried)
    good = [p for p in every if p.target >= goal - WITHIN - 1e-9]
    return max(good, key=lambda p: p.kept) if good else max(every, key=lambda p: (p.target, p.kept))


def best_target(tried: Tried) -> float:
    """The goal: of plain tuning over its whole sweep."""
    return max(p.target for p in points(tried))


def judge(expected: Expectation, results: Mapping[str, Result]) -> Verdict:
    """Whether the reported seeds bear an expectation out; two rows are compared seed by seed."""

    def values(of: str | float | None) -> list[float]:
        if not isinstance(of, str):
            return [of or 0.0] * len(results[expected.rows[0]].outcomes)
        row, _, at = of.partition("@")
        return results[row].values(expected.measure, at)

    lower, higher = values(expected.row), values(expected.below)
    if expected.below is None:
        lower, higher = values(expected.above), lower
    gap = seed_interval([b - a for a, b in zip(lower, higher, strict=True)])
    if gap.low > 0:
        return "yes"
    return "on average" if gap.mean > 0 else "no"
