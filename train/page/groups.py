"""Runs that differ only in their seed, as one: means with intervals over the seeds."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

from forgetless.curator.report.forgetting import Standing, seed_interval
from forgetless.curator.report.resampling import Interval
from forgetless.schemas.base import digest
from forgetless.schemas.errors import UsageError
from forgetless.train.output import leaves
from forgetless.train.page.runs import Run
from forgetless.train.report import Change

MOST = 6
"""Groups whose colours can be told apart."""


@dataclass(frozen=True)
class Point:
    """Where a group's models stand; None where there are no such tasks."""

    target: Interval | None
    kept: Interval | None


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    task: str
    role: str
    metric: str
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True)
class Group:
    """Runs of equal settings, one per seed."""

    label: str
    runs: list[Run]

    @property
    def seeds(self) -> list[int]:
        """One per run."""
        return [run.settings.seed for run in self.runs]

    @property
    def lines(self) -> dict[tuple[str, str], Line]:
        """By task and metric, in the order of the runs' own tables."""
        columns = [{(c.task, c.metric): c for c in run.report.changes} for run in self.runs]
        return {
            key: _line([column[key] for column in columns])
            for key in columns[0]
            if all(key in column for column in columns)
        }

    @property
    def before(self) -> Point:
        """The base."""
        return _point([run.before for run in self.runs])

    @property
    def after(self) -> Point:
        """The checkpoints."""
        return _point([run.after for run in self.runs])

    @property
    def watched(self) -> dict[int, Point]:
        """By step: those that all of its runs came to."""
        return _shared([run.watched for run in self.runs])

    @property
    def averages(self) -> dict[float, Point]:
        """By alpha."""
        return _shared([run.averages for run in self.runs])

    @property
    def kept_alphas(self) -> dict[float, int]:
        """Alpha → how many of its runs keep it."""
        kept = [point.alpha for run in self.runs for point in run.report.averages if point.kept]
        return {alpha: kept.count(alpha) for alpha in sorted(set(kept))}

    @property
    def losses(self) -> dict[str, list[tuple[float, float]]]:
        """Source → (step, nats per target token), means over its runs."""
        found: dict[str, dict[int, list[float]]] = {}
        for run in self.runs:
            for source, line in run.losses.items():
                for step, value in line:
                    found.setdefault(source, {}).setdefault(step, []).append(value)
        return {
            source: [(float(step), fmean(values)) for step, values in sorted(steps.items())]
            for source, steps in found.items()
        }


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Groups in the order of their first runs.

    Raises:
        UsageError: the same training twice, which no interval may count as two seeds; or too many groups.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        group = found.setdefault(_key(run), [])
        twin = next((other for other in group if other.settings.seed == run.settings.seed), None)
        if twin:
            raise UsageError(
                f"{str(twin.folder)!r} and {str(run.folder)!r} are the same training, seed and all",
                "leave one out",
            )
        group.append(run)
    if len(found) > MOST:
        raise UsageError(
            f"{len(found)} trainings of different settings are too many for one page", f"name {MOST} at most"
        )
    return [
        Group(label, group)
        for label, group in zip(_labels(list(found.values())), found.values(), strict=True)
    ]


def differing(groups: Sequence[Group]) -> dict[str, list[tuple[str, bool]]]:
    """Dotted key of a setting → its value in every group and whether that is the default; those that all have as the
    default are left out, and so are seeds and tasks."""
    default = groups[0].runs[0].settings.model_validate({"output": Path("-")})
    given = [_settings(group.runs[0].settings) for group in groups]
    usual = _settings(default)
    keys = dict.fromkeys(key for column in given for key in column if column[key] != usual.get(key))
    return {
        key: [(said(column.get(key, usual.get(key))), column.get(key) == usual.get(key)) for column in given]
        for key in keys
    }


def _settings(training: Any) -> dict[str, Any]:
    left_out = {"output", "name", "snapshot", "tasks", "seed"}
    return dict(leaves(training.model_dump(mode="json", exclude=left_out)))


def said(value: Any) -> str:
    """A setting in words; of an objective or a source, what there is to it."""
    match value:
        case None | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(said(each) for each in value)
        case dict():
            name = value.get("objective") or value.get("name") or ""
            rest = [
                f"{key} {said(each)}"
                for key, each in value.items()
                if key not in ("objective", "name") and each not in (None, False)
            ]
            return ": ".join(part for part in (str(name), ", ".join(rest)) if part)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _key(run: Run) -> str:
    settings = {key: value for key, value in run.asked["train"].items() if key != "seed"}
    return digest({**run.asked, "train": settings})


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What the names of a group's runs begin with, where that tells the groups apart; else all the names."""
    names = [[run.report.name for run in group] for group in groups]
    short = [n[0] if len(n) == 1 else _beginning(n) for n in names]
    whole = [", ".join(n) for n in names]
    return [s if s and short.count(s) == 1 else w for s, w in zip(short, whole, strict=True)]


def _beginning(names: Sequence[str]) -> str:
    """What all of them begin with; a number is in it whole or not at all."""
    parts = zip(*(re.findall(r"\d+|\D", name) for name in names), strict=False)
    return "".join(part[0] for part in takewhile(lambda part: len(set(part)) == 1, parts)).rstrip("-_. /")


def _line(changes: Sequence[Change]) -> Line:
    first = changes[0]
    return Line(
        first.task, first.role, first.metric,
        *(seed_interval(values) for values in ([c.before for c in changes], [c.after for c in changes], [c.change for c in changes])),
    )  # fmt: skip


def _shared(columns: Sequence[Mapping[Any, Standing]]) -> dict[Any, Point]:
    keys = sorted(set.intersection(*(set(column) for column in columns)))
    return {key: _point([column[key] for column in columns]) for key in keys}


def _point(standings: Sequence[Standing]) -> Point:
    def over(value_of: Callable[[Standing], float | None]) -> Interval | None:
        values = [value for value in map(value_of, standings) if value is not None]
        return seed_interval(values) if values and len(values) == len(standings) else None

    return Point(over(lambda s: s.target), over(lambda s: s.kept))
