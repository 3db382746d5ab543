"""The order of mean perplexity in words, and whether it is the lecture's."""

from collections.abc import Sequence
from itertools import combinations, pairwise

from forgetless.curator.report.answers import KINDS
from forgetless.curator.report.comparison import Comparison, Line
from forgetless.curator.report.resampling import Interval

HIGHEST, LOWEST = "ground_truth", "self_output"
"""Findings 12 and 15 of the lecture: people's answers are the hardest, the model's own words the easiest."""
LECTURE = "the lecture's order (human answers highest, the model's own words lowest)"


def order(comparison: Comparison) -> list[str]:
    """Sentences: the order as it came out, with intervals; what is not told apart; what the lecture expects."""
    lines = [line for line in comparison.lines if line.all and line.all.perplexity]
    if len(lines) < 2:
        return []
    if not comparison.prompts:
        return [
            "No prompt has an own, scored answer in every line: the figures are over different prompts, "
            "and no order follows from them."
        ]
    ordered = sorted(lines, key=lambda line: _perplexity(line).mean, reverse=True)
    return [
        f"Mean perplexity over {comparison.prompts:,} equal prompts, highest first: {_chain(comparison, ordered)}.",
        _untold(comparison, ordered),
        _beside_lecture(comparison, ordered),
    ]


def interval_text(interval: Interval) -> str:
    """`4.13 (3.98–4.27)`."""
    low, high = (figure(value, like=interval.mean) for value in (interval.low, interval.high))
    return f"{figure(interval.mean)} ({low}\N{EN DASH}{high})"


def figure(value: float, like: float | None = None) -> str:
    """A perplexity in three digits, or as many as it has before the point; more near 1, its lowest.

    `like`: with as many behind the point as that value has.
    """
    size = value if like is None else like
    digits = 3 if size < 1.1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def _chain(comparison: Comparison, ordered: Sequence[Line]) -> str:
    said = [f"{line.label} {interval_text(_perplexity(line))}" for line in ordered]
    signs = [" > " if comparison.separated(*pair) else " ≈ " for pair in pairwise(ordered)]
    return "".join(text for pair in zip(said, [*signs, ""], strict=True) for text in pair)


def _untold(comparison: Comparison, ordered: Sequence[Line]) -> str:
    """Which lines are not told apart: stretches of the order within which no two are, then single pairs."""
    pairs = {
        pair for pair in combinations(range(len(ordered)), 2) if not _separated(comparison, ordered, pair)
    }
    if not pairs:
        return "Every two are told apart: no 95 % interval of a paired difference holds zero."
    runs: list[range] = []
    for start in range(len(ordered)):
        end = start + 1
        while end < len(ordered) and all((i, end) in pairs for i in range(start, end)):
            end += 1
        if end - start > 1 and (not runs or end > runs[-1].stop):
            runs.append(range(start, end))
    single = [pair for pair in sorted(pairs) if not any(pair[0] in run and pair[1] in run for run in runs)]
    groups = [" / ".join(ordered[i].label for i in group) for group in [*runs, *single]]
    return f"Not told apart (the 95 % interval of the paired difference holds zero): {'; '.join(groups)}."


def _separated(comparison: Comparison, ordered: Sequence[Line], pair: tuple[int, int]) -> bool:
    return comparison.separated(ordered[pair[0]], ordered[pair[1]])


def _beside_lecture(comparison: Comparison, ordered: Sequence[Line]) -> str:
    if missing := {HIGHEST, LOWEST} - {line.kind for line in ordered}:
        names = " and ".join(KINDS[kind] for kind in KINDS if kind in missing)
        return f"Whether this is {LECTURE} cannot be said: no {names} is scored."
    expected = [pair for pair in combinations(ordered, 2) if _as_expected(*pair)]
    against = [pair for pair in combinations(ordered, 2) if _as_expected(*reversed(pair))]
    if against:
        said = [
            f"{upper.label} lies above {lower.label}"
            + ("" if comparison.separated(upper, lower) else " (not told apart)")
            for upper, lower in against
        ]
        return f"This is not {LECTURE}: {', '.join(said)}."
    if all(comparison.separated(*pair) for pair in expected):
        return f"This is {LECTURE}."
    return f"This is {LECTURE}, as far as they are told apart."


def _as_expected(upper: Line, lower: Line) -> bool:
    """Whether the lecture says that `upper` is the higher one."""
    return upper.kind != lower.kind and (upper.kind == HIGHEST or lower.kind == LOWEST)


def _perplexity(line: Line) -> Interval:
    assert line.equal and line.equal.perplexity, "only lines with scores are ordered, over equal prompts"
    return line.equal.perplexity
