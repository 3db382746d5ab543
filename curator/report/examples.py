"""A few prompts whose answers are shown token by token, chosen by rule and not by eye."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from forgetless.curator.report.answers import ALL_KINDS, Answer
from forgetless.curator.report.comparison import Comparison
from forgetless.curator.report.heatmap import Mark, Summary, summarise
from forgetless.curator.report.record import RecordView, read_records

SHOWN_TOKENS = 240
"""Tokens of one answer that are drawn."""

_SINGLE = """
    SELECT r.id, r.kind FROM records r JOIN token_stats s USING (id)
    WHERE s.scorer = $scorer AND s.rejection IS NULL AND s.target_tokens > 0 AND r.fallback IS NULL
      AND ($task::VARCHAR IS NULL OR r.task = $task)
    ORDER BY r.kind, s.perplexity, r.id"""


@dataclass(frozen=True)
class Version:
    """One answer's tokens."""

    label: str
    kind: str
    id: str
    prompt: str | None
    """The message that it answers."""
    marks: list[Mark]
    """From the first target token on, at most `SHOWN_TOKENS`."""
    left_out: int
    """Tokens behind these."""
    summary: Summary
    """Over all of the answer, not only what is drawn."""


@dataclass(frozen=True)
class Example:
    """A prompt and its answers, or a record that answers none."""

    percentile: int
    """Where it stands among the others, by perplexity; 0 is the easiest."""
    prompt: str | None
    """What all of them answer; None where they answer different prompts, or none."""
    versions: list[Version]


def prompt_examples(
    connection: duckdb.DuckDBPyConnection,
    comparison: Comparison,
    own: Mapping[str, Sequence[Answer]],
    count: int,
) -> list[Example]:
    """Prompts evenly spread over those that every line answers, ordered by how hard the first line's answer is."""
    scored = {label: _first_answers(rows) for label, rows in own.items()}
    scored = {label: found for label, found in scored.items() if found}
    if not scored or not comparison.scorer:
        return []
    shared = set.intersection(*(set(found) for found in scored.values()))
    first = next(iter(scored.values()))
    ordered = sorted(shared, key=lambda prompt: (first[prompt].nll or 0.0, prompt))
    chosen = [(percent, ordered[place]) for percent, place in spread(len(ordered), count)]
    ids = [found[prompt].id for _, prompt in chosen for found in scored.values()]
    views = read_records(connection, ids, comparison.scorer)
    kinds = {line.label: line.kind for line in comparison.lines}
    return [
        Example(
            percent,
            _prompt(views[next(iter(scored.values()))[prompt].id]),
            [version(label, kinds[label], views[found[prompt].id]) for label, found in scored.items()],
        )
        for percent, prompt in chosen
    ]


def record_examples(
    connection: duckdb.DuckDBPyConnection, scorer: str, task: str | None, count: int
) -> list[Example]:
    """Records evenly spread over each kind's perplexities, a row of kinds at each percentile."""
    found: dict[str, list[str]] = {}
    for row_id, kind in connection.sql(_SINGLE, params={"scorer": scorer, "task": task}).fetchall():
        found.setdefault(kind, []).append(row_id)
    kinds = [kind for kind in ALL_KINDS if kind in found]
    places = {kind: spread(len(found[kind]), count) for kind in kinds}
    ids = [found[kind][place] for kind in kinds for _, place in places[kind]]
    views = read_records(connection, ids, scorer)
    return [
        Example(
            percent,
            None,
            [
                version(ALL_KINDS[kind], kind, views[found[kind][place]])
                for kind in kinds
                for at, place in places[kind]
                if at == percent
            ],
        )
        for percent in sorted({percent for spread_ in places.values() for percent, _ in spread_})
    ]


def spread(size: int, count: int) -> list[tuple[int, int]]:
    """(percentile, place) of `count` places in the middles of equal parts; of fewer places all of them, once each."""
    count = min(size, count)
    return [(round(100 * (i + 0.5) / count), int(size * (i + 0.5) / count)) for i in range(count)]


def version(label: str, kind: str, view: RecordView) -> Version:
    """The last turn's tokens of a record, as far as they are shown."""
    spans = view.row["target_spans"]
    start, end = (spans[-1]["start"], spans[-1]["end"]) if spans else (0, len(view.marks))
    marks = view.marks[start:end]
    return Version(
        label,
        kind,
        view.row["id"],
        _prompt(view),
        marks[:SHOWN_TOKENS],
        len(marks[SHOWN_TOKENS:]),
        summarise(marks),
    )


def _first_answers(rows: Sequence[Answer]) -> dict[str, Answer]:
    """Prompt → its first scored answer; more than one where a recipe keeps several."""
    return {answer.prompt: answer for answer in reversed(rows) if answer.nll is not None}


def _prompt(view: RecordView) -> str | None:
    """The last message before the answer."""
    messages = view.row["messages"] or []
    return messages[-2]["content"] if len(messages) > 1 else None
