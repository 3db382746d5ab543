"""All versions of a task's answers side by side: how many came through, and how hard they are for the base model."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import duckdb
from pydantic import computed_field

from forgetless.curator.report.answers import KINDS, Answer, answers, scorers, sets, tasks
from forgetless.curator.report.resampling import Interval, interval, paired_differences
from forgetless.curator.store import Store
from forgetless.schemas.base import Frozen
from forgetless.schemas.errors import UsageError

SHORT = 8
"""Characters of a digest that are enough to tell it from another."""


class Figures(Frozen):
    """Means over one line's own answers."""

    prompts: int
    """Prompts they are over."""
    perplexity: Interval | None
    """exp of the mean over prompts of the mean -log p per target token; None where nothing is scored."""
    hard_share: float | None
    """Of all target tokens, those with a perplexity above 2.5."""
    tokens: float
    """Target tokens of an answer, the end of its turn among them."""
    characters: float
    edit_distance: float | None
    """Levenshtein distance to the ground truth in target tokens; None of the ground truth itself."""
    edit_share: float | None
    """That distance as a share of the longer of the two."""


class Line(Frozen):
    """One set of answers: a kind, or one of several sets of that kind."""

    label: str
    kind: str
    step: str
    digests: list[str]
    prompts: int
    """Prompts whose row has ended, accepted or rejected."""
    answered: int
    """Of these, prompts with an own accepted answer."""
    own: int
    """Own accepted rows; more than `answered` where a recipe keeps several."""
    fallbacks: int
    """Accepted rows in which something else stands in."""
    unscored: int
    """Own rows without scores."""
    equal: Figures | None
    """Over the prompts that every line has; None where it, or everything, lacks them."""
    all: Figures | None
    """Over all own rows that are scored, or all there are if none is; None where there is no own row."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accepted_share(self) -> float:
        """Share of prompts with an own accepted answer; what stands in does not count."""
        return self.answered / self.prompts if self.prompts else 0.0


class Difference(Frozen):
    """Two lines held against each other, prompt by prompt."""

    first: str
    second: str
    nats: Interval
    """First minus second, in -log p per token."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def separated(self) -> bool:
        """The interval does not hold zero."""
        return self.nats.low > 0 or self.nats.high < 0


class Comparison(Frozen):
    """A task's answers, one line per kind or set, in the order of `KINDS`."""

    task: str
    scorer: str | None
    """Whose log-probs these are; None where nothing is scored."""
    other_scorers: list[str]
    prompts: int
    """Prompts with an own, scored answer in every line that has any."""
    lines: list[Line]
    differences: list[Difference]
    """Of every two lines, over equal prompts."""

    def separated(self, first: Line, second: Line) -> bool:
        """Whether the perplexities of two lines are told apart."""
        pair = {first.label, second.label}
        return any(d.separated for d in self.differences if {d.first, d.second} == pair)


def compare(
    store: Store, task: str | None = None, scorer: str | None = None, snapshot: int | None = None
) -> Comparison:
    """The versions of the answers to `task` (None: the only one there is), by the log-probs of one scorer.

    `scorer` is the beginning of its name; None: the one that scored most of the task's rows, of equals the newest.

    Raises:
        UsageError: no such task, scorer or snapshot, or several tasks and none named.
    """
    with store.connect(snapshot) as connection:
        task = _task(tasks(connection), task, store)
        return compare_answers(connection, task, _scorer(scorers(connection, task), scorer, task))[0]


def compare_answers(
    connection: duckdb.DuckDBPyConnection, task: str, scorer: str | None
) -> tuple[Comparison, dict[str, list[Answer]]]:
    """The comparison by the scorer of exactly this name, and the own answers of every line, by its label."""
    known, found, rows = scorers(connection, task), sets(connection, task), answers(connection, task, scorer)
    own = {label: rows.get(row["set"], []) for label, row in zip(_labels(found), found, strict=True)}
    prompts = _equal_prompts(own.values())
    lines = [
        _line(row, label, rows_, prompts) for row, (label, rows_) in zip(found, own.items(), strict=True)
    ]
    comparison = Comparison(
        task=task, scorer=scorer, other_scorers=[name for name in known if name != scorer],
        prompts=len(prompts), lines=lines,
        differences=_differences({line.label: own[line.label] for line in lines if line.equal}, prompts),
    )  # fmt: skip
    return comparison, own


def _task(known: Sequence[str], wanted: str | None, store: Store) -> str:
    listed = ", ".join(map(repr, known))
    if not known:
        hint = "`forgetless build` a recipe that imports a task and answers it"
        raise UsageError(f"store {str(store.path)!r} has no task whose answers could be compared", hint)
    if wanted is None and len(known) > 1:
        raise UsageError(f"the store has several tasks: {listed}", "name one with --task")
    if wanted is not None and wanted not in known:
        raise UsageError(f"there is no task {wanted!r}", f"one of {listed}")
    return wanted or known[0]


def _scorer(known: Sequence[str], wanted: str | None, task: str) -> str | None:
    if wanted is None:
        return known[0] if known else None
    found = [name for name in known if name.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    problem = "several scorers begin" if found else f"no record of task {task!r} is scored by one that begins"
    raise UsageError(f"{problem} with {wanted!r}", f"its scorers: {', '.join(known) or 'none'}")


def _labels(found: Sequence[dict[str, Any]]) -> list[str]:
    """The kind; where it has several sets, their steps too; where a step has several, their digests."""
    kinds = Counter(row["kind"] for row in found)
    steps = Counter((row["kind"], row["step"]) for row in found)
    labels = []
    for row in found:
        label, step = KINDS[row["kind"]], row["step"]
        if steps[row["kind"], step] > 1:
            label += f" ({step}, {row['digests'][0][:SHORT]})"
        elif kinds[row["kind"]] > 1:
            label += f" ({step})"
        labels.append(label)
    return labels


def _equal_prompts(own: Iterable[Sequence[Answer]]) -> set[str]:
    """Prompts with a scored answer in each list that has any."""
    scored = [{answer.prompt for answer in answers if answer.nll is not None} for answers in own]
    return set.intersection(*found) if (found := [prompts for prompts in scored if prompts]) else set()


def _line(row: dict[str, Any], label: str, own: Sequence[Answer], prompts: set[str]) -> Line:
    scored = [answer for answer in own if answer.nll is not None]
    equal = [answer for answer in scored if answer.prompt in prompts]
    return Line(
        label=label, **{key: value for key, value in row.items() if key != "set"},
        unscored=len(own) - len(scored), equal=_figures(equal), all=_figures(scored or own),
    )  # fmt: skip


def _figures(own: Sequence[Answer]) -> Figures | None:
    if not own:
        return None
    is_scored, has_distance = own[0].nll is not None, own[0].distance is not None
    prompts = {answer.prompt for answer in own}
    return Figures(
        prompts=len(prompts),
        perplexity=interval(_nll_per_prompt(own, prompts)).exp() if is_scored else None,
        hard_share=sum(a.hard for a in own) / sum(a.tokens for a in own) if is_scored else None,
        tokens=fmean(a.tokens for a in own),
        characters=fmean(a.characters for a in own),
        edit_distance=fmean(a.distance or 0 for a in own) if has_distance else None,
        edit_share=fmean(a.share or 0.0 for a in own) if has_distance else None,
    )


def _nll_per_prompt(own: Sequence[Answer], prompts: set[str]) -> list[float]:
    """In the order of the prompts' ids; several answers to one prompt count as one, their mean."""
    found = defaultdict(list)
    for answer in own:
        found[answer.prompt].append(answer.nll or 0.0)
    return [fmean(found[prompt]) for prompt in sorted(prompts)]


def _differences(own: Mapping[str, Sequence[Answer]], prompts: set[str]) -> list[Difference]:
    if not own:
        return []
    columns = {
        label: _nll_per_prompt([a for a in rows if a.nll is not None], prompts) for label, rows in own.items()
    }
    return [
        Difference(first=first, second=second, nats=nats)
        for (first, second), nats in paired_differences(columns).items()
    ]
