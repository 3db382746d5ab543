"""Records of a store: listed by filters, a page at a time, and one with all that is known of its tokens."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import duckdb
from pydantic import Field

from forgetless.curator.service.parts import Parts
from forgetless.curator.service.problems import Problem
from forgetless.schemas.base import Frozen
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import OUTCOMES, Kind, Rejection, Span, Status, Verdict
from forgetless.schemas.request import Message

Order = Literal["newest", "oldest", "hardest", "easiest", "longest", "shortest"]

PREVIEW = 400
"""Characters of a text in a list."""
SEARCHED = 200
"""The longest text that is searched for."""

_KEYS = {
    "newest": ("epoch_us(o.created)", "DESC"), "oldest": ("epoch_us(o.created)", "ASC"),
    "hardest": ("coalesce(s.perplexity, -1)", "DESC"), "easiest": ("coalesce(s.perplexity, 'inf'::DOUBLE)", "ASC"),
    "longest": ("len(o.token_ids)", "DESC"), "shortest": ("len(o.token_ids)", "ASC"),
}  # fmt: skip
"""Order → what it goes by, and which way; the id decides between equals."""

_NEWEST = "SELECT newest_scorer(scored_by := $prefix) AS scorer"

_LIST = f"""
    WITH s AS (SELECT * FROM token_stats WHERE scorer = $scorer AND rejection IS NULL)
    SELECT o.id, o.kind, o.task, o.step, o.stage, o.status, o.rejection, o.parent_id, o.fallback, o.created,
           CASE WHEN len(o.messages) > 1 THEN o.messages[-2].content[:{PREVIEW}] END AS prompt,
           coalesce(o.messages[-1].content, o.text)[:{PREVIEW}] AS answer, len(o.token_ids) AS tokens,
           s.target_tokens, s.perplexity, s.hard_tokens / nullif(s.target_tokens, 0) AS hard_share, {{key}} AS place
    FROM outcomes o LEFT JOIN s ON s.id = o.id
    WHERE {{conditions}} ORDER BY place {{way}}, o.id {{way}} LIMIT $limit"""

_CONDITIONS = {
    "kind": "o.kind = $kind", "task": "o.task = $task", "step": "o.step = $step", "status": "o.status = $status",
    "text": "contains(lower(o.text), lower($text))", "min_perplexity": "s.perplexity >= $min_perplexity",
    "max_perplexity": "s.perplexity <= $max_perplexity",
}  # fmt: skip

_SHORT = ("status", "kind", "step", "task", "parent_id", "fallback")
_SCORERS = ("scorer", "rejection", "created")
_FIGURES = (
    "scorer", "logprob", "entropy", "rank", "target_tokens", "perplexity", "hard_tokens",
)  # fmt: skip
SHOWN_VERSIONS = 50


class Filters(Frozen):
    """Which rows, in which order."""

    kind: Kind | None = None
    task: str | None = None
    step: str | None = None
    status: Status | Literal["all"] = "accepted"
    text: str | None = Field(None, max_length=SEARCHED)
    """Anywhere in the text, in any case."""
    min_perplexity: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_perplexity: float | None = Field(None, ge=0, allow_inf_nan=False)
    scorer: str | None = None
    """Whose perplexity; the newest's if not given."""
    order: Order = "newest"
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=500)
    """Where the page before ended."""
    snapshot: int | None = Field(None, ge=1, le=2**31)
    """As the store was then; as it is now if not given."""


class Row(Frozen):
    """A line of a list."""

    id: str
    kind: str
    task: str | None
    step: str
    stage: str
    status: str
    rejection: Rejection | None
    parent_id: str | None
    fallback: str | None
    created: datetime
    prompt: str | None
    """The message before the last, its beginning."""
    answer: str
    """The last message, or the text, its beginning."""
    tokens: int
    target_tokens: int | None
    perplexity: float | None
    hard_share: float | None


class RecordPage(Frozen):
    """Rows, and where the next page begins."""

    scorer: str | None
    """Whose perplexity it is."""
    rows: list[Row]
    next: str | None
    """The `cursor` of the next page; null on the last."""


class Tokens(Frozen):
    """Lists of equal length, one value for each token; null where there is none."""

    ids: list[int]
    pieces: list[str]
    is_target: list[bool]
    logprob: list[float | None]
    """Natural, of the base model."""
    entropy: list[float | None]
    """In nats."""
    rank: list[int | None]
    """1 is the most probable token."""


class VersionOf(Frozen):
    """Another answer to the same prompt."""

    id: str
    kind: str
    step: str
    task: str | None
    fallback: str | None


class Record(Frozen):
    """A row with its tokens."""

    id: str
    kind: str
    task: str | None
    step: str
    stage: str
    status: str
    rejection: Rejection | None
    verdicts: list[Verdict]
    parent_id: str | None
    previous_id: str | None
    fallback: str | None
    finish_reason: str | None
    model: str | None
    seed: int | None
    run_id: str
    created: datetime
    metadata: dict[str, Any]
    messages: list[Message]
    text: str
    target_spans: list[Span]
    scorer: str | None
    """Whose statistics; null where it is not scored."""
    scorers: list[str]
    """All that have scored it, the newest first."""
    source: Literal["scorer", "sampled", "none"]
    """Where the log-probs come from."""
    perplexity: float | None
    hard_share: float | None
    tokens: Tokens
    versions: list[VersionOf]
    """Ground truth and all answers to it, this one included."""


def list_records(connection: duckdb.DuckDBPyConnection, filters: Filters) -> RecordPage:
    """One page. UsageError for a cursor that is none of ours."""
    scorer = newest_scorer(connection, filters.scorer)
    key, way = _KEYS[filters.order]
    given = filters.model_dump(include=set(_CONDITIONS), exclude_none=True)
    given = {name: value for name, value in given.items() if (name, value) != ("status", "all")}
    conditions = [_CONDITIONS[name] for name in given] or ["true"]
    params = given | {"scorer": scorer, "limit": filters.limit + 1}
    if filters.cursor:
        params["place"], params["last"] = _place(filters.cursor)
        conditions.append(f"({key}, o.id) {'<' if way == 'DESC' else '>'} ($place, $last)")
    sql = _LIST.format(key=key, way=way, conditions=" AND ".join(conditions))
    rows = connection.sql(sql, params=params).to_arrow_table().to_pylist()
    more = len(rows) > filters.limit
    rows = rows[: filters.limit]
    places = [row.pop("place") for row in rows]
    return RecordPage(
        scorer=scorer,
        rows=[Row(**row) for row in rows],
        next=_cursor(places[-1], rows[-1]["id"]) if more else None,
    )


def newest_scorer(connection: duckdb.DuckDBPyConnection, prefix: str | None) -> str | None:
    """The scorer whose name begins so that scored last; None where nothing is scored."""
    found: str | None = _rows(connection, _NEWEST, prefix=prefix)[0]["scorer"]
    return found


def read(parts: Parts, files: Mapping[str, Sequence[str]], prefix: str, scorer: str | None = None) -> Record:
    """The row whose id begins with `prefix`, its statistics by `scorer` (a prefix too; the newest if None).

    Raises:
        UsageError: several rows, or it is not scored by `scorer`.
        Problem: 404, no such row.
    """
    row = _row(parts, files["outcomes"], prefix)
    scores, scorers = _scores(parts, files["token_stats"], row["id"], scorer)
    scored = scores is not None and scores["logprob"] is not None
    sampled, size = row["sampled_logprobs"], len(row["token_ids"])
    figures = scores if scores is not None and scored else {"logprob": sampled}
    nothing: list[Any] = [None] * size
    tokens = Tokens.model_construct(
        ids=row["token_ids"],
        pieces=_pieces(parts, files["vocab"], row["tokenizer"], row["token_ids"]),
        is_target=_is_target(row["target_spans"], size),
        logprob=figures.get("logprob") or nothing,
        entropy=figures.get("entropy") or nothing,
        rank=figures.get("rank") or nothing,
    )
    known = {name: row[name] for name in Record.model_fields if name in row}
    known |= {
        name: row[name] or [] for name in ("messages", "verdicts")
    }  # null where another tool wrote the row
    return Record(
        **known | {"metadata": json.loads(row["metadata"] or "{}")},
        scorer=scores["scorer"] if scores else None,
        scorers=scorers,
        source="scorer" if scored else "sampled" if sampled else "none",
        perplexity=scores["perplexity"] if scores else None,
        hard_share=scores["hard_tokens"] / scores["target_tokens"]
        if scores and scores["target_tokens"]
        else None,
        tokens=tokens,
        versions=_versions(parts, files["outcomes"], row["parent_id"] or row["id"]),
    )


def _row(parts: Parts, files: Sequence[str], prefix: str) -> dict[str, Any]:
    found = list(parts.find(files, prefix, _SHORT))
    if not found:
        raise Problem(404, f"no row has an id that begins with {prefix!r}")
    if len(found) > 1:
        ids = ", ".join(part.columns["id"][row].as_py() for _, part, row in found[:8])
        raise UsageError(f"{prefix!r} begins several ids: {ids}", "give more of the id")
    return parts.row(*found[0], OUTCOMES.names)


def _scores(
    parts: Parts, files: Sequence[str], row_id: str, scorer: str | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The row's statistics by the scorer that is wanted, and the names of all that have scored it, as
    `forgetless.curator.report.record.scores_of` finds them."""
    found = []
    for file, part, row in parts.find(files, row_id, _SCORERS):
        columns = {name: part.columns[name][row].as_py() for name in _SCORERS}
        found.append(
            ((columns["rejection"] is None, columns["created"]), columns["scorer"], (file, part, row))
        )
    found.sort(key=lambda each: each[0], reverse=True)
    scorers = [name for _, name, _ in found]
    chosen = [place for _, name, place in found if scorer is None or name.startswith(scorer)]
    if scorer is not None and not chosen:
        known = ", ".join(scorers) or "none"
        raise UsageError(f"row {row_id!r} has no scores by {scorer!r}", f"its scorers: {known}")
    return (parts.row(*chosen[0], _FIGURES) if chosen else None), scorers


def _pieces(parts: Parts, files: Sequence[str], tokenizer: str, token_ids: Sequence[int]) -> list[str]:
    """As `forgetless.curator.report.record.pieces`."""
    known = parts.pieces(files).get(tokenizer, {})
    return [known.get(token_id) or f"<{token_id}>" for token_id in token_ids]


def _is_target(spans: Sequence[Mapping[str, int]], size: int) -> list[bool]:
    mask = [False] * size
    for span in spans:
        mask[span["start"] : span["end"]] = [True] * (span["end"] - span["start"])
    return mask


def _versions(parts: Parts, files: Sequence[str], truth: str) -> list[VersionOf]:
    """The row itself, and the records made from it."""
    own = [part.columns.slice(row, 1).to_pylist()[0] for _, part, row in parts.find(files, truth, _SHORT)]
    rows = [
        row for row in own + parts.equal(files, "parent_id", truth, _SHORT) if row["status"] == "accepted"
    ]
    rows.sort(key=lambda row: (row["kind"] != "ground_truth", row["kind"], row["id"]))
    return [
        VersionOf(**{name: row[name] for name in VersionOf.model_fields}) for row in rows[:SHOWN_VERSIONS]
    ]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **params: Any) -> list[dict[str, Any]]:
    return list(connection.sql(sql, params=params).to_arrow_table().to_pylist())


def _cursor(place: float, last: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, last]).encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[float, str]:
    try:
        place, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return float(place), str(last)
    except (ValueError, TypeError, binascii.Error):
        raise UsageError(
            f"cursor {cursor!r} is none of ours", "take it from `next` of the page before"
        ) from None
