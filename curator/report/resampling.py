"""Means of log-probs over prompts, with bootstrap intervals."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from forgetless.schemas.base import Frozen

RESAMPLES = 2000
SEED = 0
COVERED = (2.5, 97.5)
"""Percentiles between which 95 % of the resampled means lie."""


class Interval(Frozen):
    """A mean and the 95 % interval of it."""

    mean: float
    low: float
    high: float

    def exp(self) -> "Interval":
        """Of the exponentials: of mean nats per token the perplexity."""
        return Interval(mean=_exp(self.mean), low=_exp(self.low), high=_exp(self.high))


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value per prompt, its interval by the percentile bootstrap over prompts."""
    array = np.asarray(values)
    return _interval(array.mean(), _resampled(array[:, None])[:, 0])


def ratio_interval(parts: Sequence[float], wholes: Sequence[float]) -> Interval:
    """Sum of parts over sum of wholes, one pair per prompt, its interval by the percentile bootstrap over prompts."""
    means_RC = _resampled(np.asarray([parts, wholes], np.float64).T)
    return _interval(sum(parts) / sum(wholes), means_RC[:, 0] / means_RC[:, 1])


def paired_differences(columns: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], Interval]:
    """The mean of first minus second for every two columns; row i of each is prompt i.

    A resample draws the same prompts for all columns: what makes a prompt hard for both cancels out.
    """
    values_PC = np.asarray(list(columns.values())).T
    means_C, means_RC = values_PC.mean(0), _resampled(values_PC)
    return {
        (first, second): _interval(means_C[i] - means_C[j], means_RC[:, i] - means_RC[:, j])
        for (i, first), (j, second) in combinations(enumerate(columns), 2)
    }


def _resampled(values_PC: np.ndarray) -> np.ndarray:
    """Column means of RESAMPLES samples of the rows, drawn with replacement."""
    draw = np.random.default_rng(SEED)
    size = len(values_PC)
    return np.stack([values_PC[draw.integers(size, size=size)].mean(0) for _ in range(RESAMPLES)])


def _interval(mean: float, resampled: np.ndarray) -> Interval:
    low, high = np.percentile(resampled, COVERED)
    return Interval(mean=float(mean), low=float(low), high=float(high))


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
