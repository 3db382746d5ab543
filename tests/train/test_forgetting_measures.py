"""Summaries of what was learned and lost, against values worked out by hand."""

from math import isnan

import pytest

from forgetless.curator.report.forgetting import (
    average_accuracy,
    backward_transfer,
    forgetting,
    retained_share,
    seed_interval,
    sequence_transfer,
    target_improvement,
)

SEQUENCE = [
    [0.8, 0.1, 0.0],
    [0.9, 0.6, 0.2],
    [0.5, 0.4, 0.7],
]
"""Three tasks learned one after another; the first gains from the second before the third destroys it."""


def test_target_improvement_is_relative_to_the_base() -> None:
    better = target_improvement(0.4, 0.5)
    assert (better.relative, better.absolute) == (pytest.approx(0.25), pytest.approx(0.1))
    learned = target_improvement(0.0, 0.9)
    assert isnan(learned.relative) and learned.absolute == 0.9


def test_backward_transfer_leaves_out_what_was_never_there() -> None:
    change = backward_transfer([0.8, 0.5, 0.0], [0.4, 0.6, 0.1])
    assert change.relative == pytest.approx((-0.5 + 0.2) / 2)
    assert change.absolute == pytest.approx((-0.4 + 0.1 + 0.1) / 3)
    assert isnan(backward_transfer([], []).absolute)
    with pytest.raises(ValueError, match="shorter"):
        backward_transfer([0.5, 0.5], [0.5])


def test_retained_share_is_a_mean_of_ratios() -> None:
    assert retained_share([0.8, 0.5, 0.0], [0.4, 0.6, 0.9]) == pytest.approx((0.5 + 1.2) / 2)
    assert retained_share([0.3, 0.7], [0.3, 0.7]) == 1
    assert isnan(retained_share([0.0], [0.5]))


def test_a_sequence_of_tasks() -> None:
    assert average_accuracy(SEQUENCE) == pytest.approx((0.5 + 0.4 + 0.7) / 3)
    transfer = sequence_transfer(SEQUENCE)
    assert transfer.absolute == pytest.approx(((0.5 - 0.8) + (0.4 - 0.6)) / 2)
    assert transfer.relative == pytest.approx((-0.3 / 0.8 - 0.2 / 0.6) / 2)
    assert forgetting(SEQUENCE) == pytest.approx(((0.9 - 0.5) + (0.6 - 0.4)) / 2)


def test_one_stage_has_nothing_to_forget() -> None:
    assert average_accuracy([[0.7]]) == 0.7
    assert isnan(forgetting([[0.7]])) and isnan(sequence_transfer([[0.7]]).absolute)


def test_a_matrix_that_is_none_is_refused() -> None:
    for wrong in ([], [[0.5, 0.5]], [[0.5], [0.5, 0.5]]):
        with pytest.raises(ValueError, match="as many stages as tasks"):
            average_accuracy(wrong)


def test_interval_over_seeds() -> None:
    found = seed_interval([0.90, 0.94, 0.98])  # s = 0.04, t(2) = 4.303
    assert found.mean == pytest.approx(0.94)
    assert found.high - found.mean == pytest.approx(4.303 * 0.04 / 3**0.5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    same = seed_interval([0.5] * 5)
    assert (same.low, same.mean, same.high) == (0.5, 0.5, 0.5)
    alone = seed_interval([0.5])
    assert alone.mean == 0.5 and isnan(alone.low) and isnan(alone.high)
