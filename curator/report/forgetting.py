"""What a fine-tuning, or a sequence of them, taught and cost: summaries of accuracies in 0..1.

A matrix of accuracies, accuracies[s][j], holds that on task j after stage s, the stage that taught task s: as many
stages as tasks. Sources: backward transfer Lopez-Paz & Ranzato 2017, forgetting Chaudhry et al. 2018, target
improvement and relative backward transfer the STM paper (Lin et al. 2025).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import fmean, stdev

from forgetless.curator.report.resampling import Interval
from forgetless.schemas.base import Frozen

Matrix = Sequence[Sequence[float]]
"""[stages][tasks]"""

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the last errs on the wide side."""


class Transfer(Frozen):
    """A change of accuracy, in both of its forms."""

    relative: float
    """As a share of what was there, over tasks of which something was there; NaN where there is none."""
    absolute: float
    """In accuracy, over all tasks."""


@dataclass(frozen=True)
class Standing:
    """Where a model stands between learning and forgetting, both in 0..1."""

    target: float | None
    """Mean accuracy of target tasks; None without any."""
    kept: float | None
    """Mean over retained tasks of accuracy after / before; None where the base knew none."""


def target_improvement(before: float, after: float) -> Transfer:
    """TI = (a' − a) / a of the target task, and a' − a."""
    return backward_transfer([before], [after])


def backward_transfer(before: Sequence[float], after: Sequence[float]) -> Transfer:
    """BWT = mean over the other tasks of (a'_j − a_j) / a_j, and of a'_j − a_j. Negative means forgetting.

    The relative form blows up for tasks that the model hardly knew and has no value for those it failed; the latter
    are left out of it. Both are NaN without tasks.
    """
    pairs = list(zip(before, after, strict=True))
    return Transfer(
        relative=_mean([(a - b) / b for b, a in pairs if b > 0]),
        absolute=_mean([a - b for b, a in pairs]),
    )


def retained_share(before: Sequence[float], after: Sequence[float]) -> float:
    """Mean over retained tasks of a'_j / a_j, tasks with a_j = 0 left out; NaN without any. 1 means nothing is lost,
    and what one task gained makes up for what another lost."""
    return _mean([a / b for b, a in zip(before, after, strict=True) if b > 0])


def standing(before: Mapping[str, tuple[str, float]], now: Mapping[str, tuple[str, float]]) -> Standing:
    """From accuracies by task, each with its role."""
    targets = [value for role, value in now.values() if role == "target"]
    retained = [task for task, (role, _) in now.items() if role == "retained" and task in before]
    kept = retained_share([before[task][1] for task in retained], [now[task][1] for task in retained])
    return Standing(fmean(targets) if targets else None, None if isnan(kept) else kept)


def average_accuracy(accuracies: Matrix) -> float:
    """ACC = mean over tasks j of accuracies[S][j], S the last stage."""
    return fmean(_square(accuracies)[-1])


def sequence_transfer(accuracies: Matrix) -> Transfer:
    """BWT of a sequence = mean over j < S of accuracies[S][j] − accuracies[j][j], S the last stage: each task against
    what it was when it had just been learned. Relative: each difference divided by accuracies[j][j]."""
    rows = _square(accuracies)
    return backward_transfer([rows[j][j] for j in range(len(rows) - 1)], rows[-1][:-1])


def forgetting(accuracies: Matrix) -> float:
    """F = mean over j < S of (max over s < S of accuracies[s][j]) − accuracies[S][j], S the last stage: each task
    against the best it ever was. NaN for a single stage; negative where the last stage is the best."""
    *earlier, last = _square(accuracies)
    return _mean([max(row[j] for row in earlier) - last[j] for j in range(len(earlier))])


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean of one value per seed with its 95 % interval, mean ± t(n−1) s/√n, s the sample's standard deviation.

    Student's t and no bootstrap: resampling three to five values gives intervals that are far too narrow. Of a single
    seed nothing is known but its value: both ends are NaN, as they are where a value is.
    """
    mean = fmean(values)
    if len(values) == 1 or isnan(mean):
        return Interval(mean=mean, low=nan, high=nan)
    t = T_975[min(len(values) - 1, len(T_975)) - 1]
    half = t * stdev(values) / sqrt(len(values))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def _square(accuracies: Matrix) -> Matrix:
    if not accuracies or any(len(row) != len(accuracies) for row in accuracies):
        shape = [len(row) for row in accuracies]
        raise ValueError(f"as many stages as tasks are wanted, not {len(shape)} stages of {shape} tasks")
    return accuracies


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else nan
