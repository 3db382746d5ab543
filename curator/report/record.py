"""One row of a store with everything known about its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from forgetless.curator.report.heatmap import Mark, mark
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError

SHOWN_CANDIDATES = 8


@dataclass(frozen=True)
class RecordView:
    """A row of `outcomes` and its tokens."""

    row: dict[str, Any]
    """The columns of `outcomes`."""
    scores: dict[str, Any] | None
    """The columns of `token_stats` of one scorer, which may have refused the row; None if it is not scored."""
    logprobs: list[float | None]
    """What `marks` are made of: the scorer's, else those of sampling, else nulls."""
    source: str
    """Where `logprobs` come from: scorer, sampled or none."""
    marks: list[Mark]


def read_record(store: Store, prefix: str, scorer: str | None = None) -> RecordView:
    """The row whose id begins with `prefix`, its scores by `scorer` (a prefix too; the newest if None).

    Raises:
        UsageError: no such row, several of them, or it is not scored by `scorer`.
    """
    with store.connect() as connection:
        row = _rows(connection, "SELECT * FROM outcomes WHERE id = ?", full_id(connection, prefix))[0]
        scores, _ = scores_of(connection, row["id"], scorer)
        texts = pieces(connection, row["tokenizer"], row["token_ids"])
    return view(row, scores, texts)


def read_records(
    connection: duckdb.DuckDBPyConnection, ids: Sequence[str], scorer: str
) -> dict[str, RecordView]:
    """The rows of these ids, by id, with their scores by the scorer of exactly this name."""
    rows = _rows(connection, "SELECT * FROM outcomes WHERE id IN (SELECT unnest(?::VARCHAR[]))", ids)
    sql = "SELECT * FROM token_stats WHERE scorer = ? AND rejection IS NULL AND id IN (SELECT unnest(?::VARCHAR[]))"
    scores = {found["id"]: found for found in _rows(connection, sql, scorer, ids)}
    texts: dict[str, dict[int, str]] = {}
    for name in {row["tokenizer"] for row in rows}:
        used = {token_id for row in rows if row["tokenizer"] == name for token_id in row["token_ids"]}
        texts[name] = dict(zip(used, pieces(connection, name, list(used)), strict=True))
    return {
        row["id"]: view(row, scores.get(row["id"]), [texts[row["tokenizer"]][t] for t in row["token_ids"]])
        for row in rows
    }


def view(row: dict[str, Any], scores: dict[str, Any] | None, texts: Sequence[str]) -> RecordView:
    """A row of `outcomes`, a row of `token_stats` and the text pieces of its tokens, put together."""
    logprobs: list[float | None]
    if scores and scores["logprob"]:
        logprobs, source = scores["logprob"], "scorer"
    elif row["sampled_logprobs"]:
        logprobs, source = row["sampled_logprobs"], "sampled"
    else:
        logprobs, source = [None] * len(row["token_ids"]), "none"
    is_target = [
        any(span["start"] <= position < span["end"] for span in row["target_spans"])
        for position in range(len(row["token_ids"]))
    ]
    figures = scores if source == "scorer" and scores else {}
    marks = mark(row["token_ids"], texts, is_target, logprobs, figures.get("entropy"), figures.get("rank"))
    return RecordView(row, scores, logprobs, source, marks)


def pieces(connection: duckdb.DuckDBPyConnection, tokenizer: str, token_ids: Sequence[int]) -> list[str]:
    """Piece of each id; the id in angle brackets where the vocabulary is not in the store."""
    sql = "SELECT token_id, piece FROM vocab WHERE tokenizer = ? AND token_id IN (SELECT unnest(?::INT[]))"
    known = {row["token_id"]: row["piece"] for row in _rows(connection, sql, tokenizer, token_ids)}
    return [known.get(token_id) or f"<{token_id}>" for token_id in token_ids]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: Any) -> list[dict[str, Any]]:
    return connection.sql(sql, params=values).to_arrow_table().to_pylist()


def full_id(connection: duckdb.DuckDBPyConnection, prefix: str) -> str:
    """The one id that begins with `prefix`. UsageError if there is none, or several."""
    sql = "SELECT id FROM outcomes WHERE starts_with(id, ?) ORDER BY id LIMIT ?"
    found = [row["id"] for row in _rows(connection, sql, prefix, SHOWN_CANDIDATES + 1)]
    if len(found) == 1 or prefix in found:
        return prefix if prefix in found else found[0]
    if not found:
        raise UsageError(
            f"no row has an id that begins with {prefix!r}",
            '`forgetless sql STORE "SELECT id, kind, text FROM records LIMIT 9"` shows some',
        )
    more = ", …" if len(found) > SHOWN_CANDIDATES else ""
    raise UsageError(
        f"{prefix!r} begins several ids: {', '.join(found[:SHOWN_CANDIDATES])}{more}", "give more of the id"
    )


def scores_of(
    connection: duckdb.DuckDBPyConnection, row_id: str, scorer: str | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The row's statistics by `scorer` (a prefix; the newest that could score it if None), and all its scorers.

    UsageError where `scorer` is named and has not scored it.
    """
    found = _rows(
        connection,
        "SELECT * FROM token_stats WHERE id = ? ORDER BY rejection IS NOT NULL, created DESC",
        row_id,
    )
    scorers = [row["scorer"] for row in found]
    chosen = [row for row in found if scorer is None or row["scorer"].startswith(scorer)]
    if scorer is None or chosen:
        return (chosen[0] if chosen else None), scorers
    known = ", ".join(scorers) or "none"
    raise UsageError(f"row {row_id!r} has no scores by {scorer!r}", f"its scorers: {known}")
