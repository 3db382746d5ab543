"""What the page of trainings draws: target against retained, tasks before and after, steps."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any

from forgetless.curator.report.chart import Bars, Chart, Dot, Track, linear, share
from forgetless.curator.report.forgetting import (
    Standing,
    Transfer,
    average_accuracy,
    forgetting,
    sequence_transfer,
)
from forgetless.curator.report.resampling import Interval
from forgetless.curator.service.trainings import Training

COLOURS = 6
"""Lines whose colours can be told apart."""


def plane(trainings: Mapping[int, Training], chosen: Training) -> Chart | None:
    """From the base to each checkpoint, which has the number of its training; of many only the chosen one's way and
    all checkpoints. None where nothing can be said."""
    many = len(trainings) > COLOURS
    tracks = []
    for place, (number, each) in enumerate(trainings.items()):
        way = [*_dots({"": each.before}), *_dots({str(number): each.after})]
        if len(way) < 2:
            continue
        shown = way if not many or each is chosen else way[1:]
        tracks.append(Track(each.name, place if not many else int(each is chosen), shown))
    if not tracks:
        return None
    tracks.sort(key=lambda track: many and track.colour == 1)  # drawn last
    line = (
        "The line goes from the base to the chosen one."
        if many
        else "Each line goes from the base to a checkpoint."
    )
    return Chart(
        "plane", "Learned against kept", share(tracks, "x"), "accuracy on targets", share(tracks, "y"),
        "retained share", tracks, f"{line} Numbers are those of the table.",
    )  # fmt: skip


def path(training: Training) -> Chart | None:
    """One training's way between learning and forgetting, step by step."""
    watched = list(_dots({str(step): point for step, point in training.watched.items()}))
    if len(watched) < 2:
        return None
    tracks = [Track(training.name, 0, watched), Track("", 0, list(_dots({"": training.after})), mark="ring")]
    tracks = [track for track in tracks if track.dots]
    return Chart(
        "path", "Learned against kept, by step", share(tracks, "x"), "accuracy on targets", share(tracks, "y"),
        "retained share", tracks, "Numbers are steps, over the few questions asked while training. Ring: the checkpoint, over all questions.",
    )  # fmt: skip


def over_steps(training: Training) -> Chart | None:
    """Target accuracy and retained share over steps; None where nothing was measured while it ran."""
    points = training.watched
    tracks = []
    for place, (name, label) in enumerate((("target", "target accuracy"), ("kept", "retained share"))):
        values = {step: getattr(point, name) for step, point in points.items()}
        dots = [Dot(float(step), value) for step, value in values.items() if value is not None]
        tracks += [Track(label, place, dots, place)] if len(dots) > 1 else []
    if not tracks:
        return None
    return Chart(
        "steps", "Over steps", linear(float(max(points))), "step", share(tracks, "y"), "accuracy, share", tracks,
        "Over the few questions asked while training.",
    )  # fmt: skip


def task_bars(training: Training) -> list[Bars]:
    """Accuracy on every task before and after."""
    return [
        Bars(c.task, c.role, [(None, _exactly(c.before)), (0, _exactly(c.after))])
        for c in training.changes
        if c.metric == "accuracy" and c.before is not None and c.after is not None
    ]


def summary(sequence: Sequence[Training]) -> dict[str, str]:
    """The figures of the field of stages that each taught one task; none where they did not."""
    taught = [
        [task for task, (role, _) in each.accuracies("after").items() if role == "target"]
        for each in sequence
    ]
    names = [tasks[0] for tasks in taught if len(tasks) == 1]
    after = [{task: value for task, (_, value) in each.accuracies("after").items()} for each in sequence]
    if len(set(names)) < len(sequence) or not all(set(names) <= set(figures) for figures in after):
        return {}
    matrix = [[figures[name] for name in names] for figures in after]
    return {
        "average accuracy": f"{average_accuracy(matrix):.1%}",
        "backward transfer": _transfer(sequence_transfer(matrix)),
        "forgetting": f"{100 * forgetting(matrix):.1f} points",
    }


def how(training: Training) -> str:
    """What was done, in a few words."""
    settings = training.settings
    said = [f"rate {settings['learning_rate']:g}"] if settings.get("learning_rate") else []
    if steps := settings.get("steps"):
        said.append(f"{steps:,} steps")
    elif epochs := settings.get("epochs"):
        said.append(f"{epochs:g} epoch{'s' if epochs != 1 else ''}")
    said += [_source(source) for source in settings.get("replay") or []]
    said += [str(each.get("objective")) for each in settings.get("objectives") or []]
    if lora := settings.get("lora"):
        said.append(f"LoRA {lora.get('rank')}")
    said += [name for name in ("freeze", "anchor", "average") if settings.get(name)]
    return ", ".join(said)


def _source(source: dict[str, Any]) -> str:
    return f"{source.get('name', 'replay')} {source.get('share', 0):.3g}"


def _dots(points: Mapping[str, Standing]) -> list[Dot]:
    return [
        Dot(point.target, point.kept, label)
        for label, point in points.items()
        if point.target is not None and point.kept is not None
    ]


def _exactly(value: float | None) -> Interval:
    return Interval(mean=value or 0.0, low=nan, high=nan)


def _transfer(found: Transfer) -> str:
    share = "" if isnan(found.relative) else f" ({found.relative:+.1%} of what was there)"
    return f"{100 * found.absolute:+.1f} points{share}"
