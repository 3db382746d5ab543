"""What is drawn of groups of runs: lines of dots between two axes, and bars."""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from forgetless.curator.report.chart import Bars, Chart, Dot, Track, ends, linear, said_once, share
from forgetless.curator.report.resampling import Interval
from forgetless.curator.report.svg import Axis
from forgetless.train.page.groups import MOST, Group, Line, Point

RINGS = "Rings: the checkpoint, over all questions."
BINS = 120
"""Points of a loss curve; of a longer one, means over as many equal parts."""


def plane(groups: Sequence[Group]) -> Chart | None:
    """Target accuracy against what is kept, point by point; None where either cannot be said."""
    tracks: list[Track] = []
    for place, group in enumerate(groups):
        watched = {str(step): point for step, point in group.watched.items()}
        dots = list(_dots(watched or {"before": group.before, "after": group.after}))
        after = list(_dots({"": group.after})) if watched else []
        tracks += [Track(group.label, place, dots)] if dots else []
        tracks += [Track("", place, after, mark="ring")] if after else []
    if not tracks:
        return None
    tracks = said_once(tracks)
    return Chart(
        "curve", "Learned against kept", share(tracks, "x"), "accuracy on targets",
        share(tracks, "y"), "retained share", tracks, _note(groups, "Numbers are steps, over the few questions asked while training."),
    )  # fmt: skip


def _note(groups: Sequence[Group], *first: str) -> str:
    """What is to be known of the points."""
    watched = any(group.watched for group in groups)
    stopped = any(len(run.watched) > len(group.watched) for group in groups for run in group.runs)
    said = [
        *(first if watched else ()),
        RINGS if watched else "",
        "Whiskers: 95 % intervals over seeds." if any(len(group.runs) > 1 for group in groups) else "",
        "A mean ends where the first of its runs was stopped." if stopped else "",
    ]
    return " ".join(filter(None, said))


def _measures(place: int, group: Group, groups: Sequence[Group]) -> Iterator[tuple[int, str, int, str]]:
    """Dash, attribute of a point, colour and label: of several groups each has a colour, of one each measure."""
    for dash, (name, said) in enumerate((("target", "target accuracy"), ("kept", "retained share"))):
        yield (dash, name, place, f"{group.label}: {said}") if len(groups) > 1 else (dash, name, dash, said)


def over_steps(groups: Sequence[Group]) -> Chart | None:
    """Target accuracy and retained share over steps; None where nothing is known of either."""
    tracks: list[Track] = []
    for place, group in enumerate(groups):
        last = max(run.steps for run in group.runs)
        points = group.watched or {0: group.before, last: group.after}
        for dash, name, colour, label in _measures(place, group, groups):
            dots = list(_over({float(step): getattr(point, name) for step, point in points.items()}))
            after = list(_over({float(last): getattr(group.after, name)})) if group.watched else []
            tracks += [Track(label, colour, dots, dash)] if dots else []
            tracks += [Track("", colour, after, dash, "ring")] if after else []
    if not tracks:
        return None
    return Chart(
        "steps", "Over steps", linear(max(1.0, *(dot.x for track in tracks for dot in track.dots))), "step",
        share(tracks, "y"), "", tracks, _note(groups),
    )  # fmt: skip


def losses(groups: Sequence[Group]) -> Chart | None:
    """Cross entropy of every source over steps."""
    tracks: list[Track] = []
    for place, group in enumerate(groups):
        for number, (source, line) in enumerate(group.losses.items()):
            dots = [Dot(x, y) for x, y in _thinned([p for p in line if math.isfinite(p[1])])]
            colour = place if len(groups) > 1 else number
            label = f"{group.label}: {source}" if len(groups) > 1 else source
            tracks += [Track(label, colour % MOST, dots, number, "none")] if dots else []
    if not tracks:
        return None
    every = [dot for track in tracks for dot in track.dots]
    return Chart(
        "loss", "Loss by source", linear(max(dot.x for dot in every)), "step",
        linear(max(dot.y for dot in every)), "nats per token", tracks,
    )  # fmt: skip


def averaging(groups: Sequence[Group]) -> Chart | None:
    """Target accuracy and retained share from the base (0) to the tuned weights (1); None without an average."""
    tracks: list[Track] = []
    marked: list[tuple[float, int, str]] = []
    averaged = [(place, group) for place, group in enumerate(groups) if group.averages]
    for place, group in averaged:
        for dash, name, colour, label in _measures(place, group, groups):
            dots = list(_over({alpha: getattr(point, name) for alpha, point in group.averages.items()}))
            tracks += [Track(label, colour, dots, dash)] if dots else []
        for alpha, runs in group.kept_alphas.items():
            times = f" ({runs} of {len(group.runs)})" if len(group.runs) > 1 else ""
            marked.append((alpha, place if len(groups) > 1 else 2, f"kept{times}"))
    if not tracks:
        return None
    alphas = sorted({dot.x for track in tracks for dot in track.dots})
    low = alphas[0] if len(alphas) > 1 else 0.0
    ticks = alphas if len(alphas) <= 7 else [alphas[0], alphas[len(alphas) // 2], alphas[-1]]
    return Chart(
        "average", "Averages with the base", Axis(low, max(alphas[-1], low + 0.1), ticks),
        "alpha, the share of the tuned weights", share(tracks, "y"), "", tracks, marked=marked,
    )  # fmt: skip


def task_bars(groups: Sequence[Group]) -> list[Bars]:
    """Accuracy on every task before and after, in the order of the runs' tables."""
    found: dict[str, list[tuple[int, Line]]] = {}
    for place, group in enumerate(groups):
        for line in group.lines.values():
            if line.metric == "accuracy":
                found.setdefault(line.task, []).append((place, line))
    return [Bars(task, lines[0][1].role, _bars(lines)) for task, lines in found.items()]


def _bars(lines: Sequence[tuple[int, Line]]) -> list[tuple[int | None, Interval]]:
    """One bar for the base, or several where the runs began at different ones."""
    bars: list[tuple[int | None, Interval]] = []
    shown: float | None = None
    for place, line in lines:
        bars += [(None, line.before)] if line.before.mean != shown else []
        bars.append((place, line.after))
        shown = line.before.mean
    return bars


def _dots(points: dict[str, Point]) -> Iterator[Dot]:
    for label, point in points.items():
        if point.target and point.kept:
            yield Dot(point.target.mean, point.kept.mean, label, ends(point.target), ends(point.kept))


def _over(values: dict[float, Interval | None]) -> Iterator[Dot]:
    for x, interval in values.items():
        if interval:
            yield Dot(x, interval.mean, high=ends(interval))


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(line) / BINS)
    parts = [line[i : i + size] for i in range(0, len(line), size or 1)]
    return [(part[-1][0], fmean(y for _, y in part)) for part in parts]
