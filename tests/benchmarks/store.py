"""`forgetless bench store`: size and speed of a store beside hand-written DuckDB over the same rows, laid out plainly."""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from forgetless.benchmarks.made_store import make_store
from forgetless.curator.store import Store
from forgetless.curator.store.compact import compact

MEAN = "mean perplexity by kind"
HARDEST = "hardest twenty tokens"

_TARGETS = 'list_slice({}, start + 1, "end")'
_AS_LISTS = f"SELECT kind, avg(exp(-list_avg({_TARGETS.format('logprob')}))) FROM {{}} GROUP BY kind"
_AS_ROWS = """
    SELECT kind, avg(perplexity) FROM (
        SELECT kind, exp(-avg(logprob)) AS perplexity FROM {} WHERE is_target GROUP BY id, kind) GROUP BY kind"""
_TOP = """
    SELECT id, kind, position, piece, exp(-logprob::DOUBLE) AS perplexity FROM (
        SELECT id, kind, position, token_id, logprob FROM {} ORDER BY logprob LIMIT 20)
    JOIN vocab USING (token_id) ORDER BY logprob"""
_UNNESTED = f"""(
    SELECT id, kind, unnest(range(start, "end")) AS position, unnest({_TARGETS.format("token_ids")}) AS token_id,
           unnest({_TARGETS.format("logprob")}) AS logprob FROM {{}})"""
_OWN_LISTS = """(
    SELECT kind, target_spans[1].start AS start, target_spans[1]."end" AS "end", logprob
    FROM records JOIN token_stats USING (id))"""

OURS = {
    MEAN: {"view perplexity": "SELECT kind, avg(perplexity) FROM perplexity GROUP BY kind"},
    HARDEST: {
        "hardest_tokens(20)": "SELECT id, kind, position, piece, perplexity FROM hardest_tokens(20)",
        "view tokens": """
            SELECT id, kind, position, piece, perplexity FROM tokens WHERE is_target
            ORDER BY perplexity DESC LIMIT 20""",
    },
}
PLAIN = {
    MEAN: {
        "lists in the store": _AS_LISTS.format(_OWN_LISTS),
        "lists, pyarrow": _AS_LISTS.format("lists_pyarrow"),
        "lists, DuckDB": _AS_LISTS.format("lists_duckdb"),
        "token table, pyarrow": _AS_ROWS.format("rows_pyarrow"),
        "token table, DuckDB": _AS_ROWS.format("rows_duckdb"),
    },
    HARDEST: {
        "lists, pyarrow": _TOP.format(_UNNESTED.format("lists_pyarrow")),
        "lists, DuckDB": _TOP.format(_UNNESTED.format("lists_duckdb")),
        "token table, pyarrow": _TOP.format("rows_pyarrow WHERE is_target"),
        "token table, DuckDB": _TOP.format("rows_duckdb WHERE is_target"),
    },
}
"""Question → name → query: by the store's views and macros, and by hand over plain files."""


@dataclass(frozen=True)
class StoreComparison:
    """What was compared, and how it came out."""

    records: int
    tokens: int
    column_bytes: dict[str, float]
    """Bytes per token of each list."""
    store_bytes: float
    """Bytes per token of all files of records and scores, ids of rows and scalars included."""
    plain_bytes: dict[str, float]
    """Bytes per token of the plain layouts."""
    seconds: dict[str, dict[str, list[float]]]
    """Question → query → time of each round."""
    load: float
    """Of the machine at the beginning: above 1 others were using it."""

    @property
    def ids_and_logprob(self) -> float:
        """Bytes per token."""
        return self.column_bytes["token_ids"] + self.column_bytes["logprob"]

    @property
    def with_entropy_and_rank(self) -> float:
        """Bytes per token."""
        return self.ids_and_logprob + self.column_bytes["entropy"] + self.column_bytes["rank"]

    def median(self, question: str, query: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[question][query])

    def best(self, question: str, among: str = "") -> str:
        """The fastest query by hand whose name begins with `among`."""
        return min(
            (q for q in PLAIN[question] if q.startswith(among)), key=lambda q: self.median(question, q)
        )

    @property
    def mean_speedup(self) -> float:
        """How many times faster the view is than the fastest query that reads lists."""
        return self.median(MEAN, self.best(MEAN, "lists")) / self.median(MEAN, "view perplexity")

    @property
    def hardest_ratio(self) -> float:
        """Time of the macro for each second of the fastest query by hand."""
        return self.median(HARDEST, "hardest_tokens(20)") / self.median(HARDEST, self.best(HARDEST))


def compare_store(
    records: int = 10_000, tokens: int = 500, rounds: int = 7, told: Callable[[str], None] = lambda _: None
) -> StoreComparison:
    """Make a store of `records` of `tokens` on average and ask both sides everything, by turns.

    All queries run in one connection, with a warm disk cache; `told` hears what is being done.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="forgetless-bench-") as folder:
        told(f"making {records:,} records of {tokens} tokens")
        store = make_store(Path(folder) / "store", records, tokens)
        compact(store)
        with store.connect() as connection:
            plain = write_plain(connection, Path(folder))
            count = connection.sql("SELECT sum(len(token_ids))::BIGINT FROM records").fetchall()[0][0]
            told(f"{rounds} rounds of {sum(map(len, OURS.values())) + sum(map(len, PLAIN.values()))} queries")
            seconds = _ask(connection, rounds)
        files = [Path(part) for name in ("outcomes", "token_stats") for part in store.files()[name]]
        return StoreComparison(
            records, count, _columns(store, count), sum(file.stat().st_size for file in files) / count,
            {name: file.stat().st_size / count for name, file in plain.items()}, seconds, load,
        )  # fmt: skip


def write_plain(connection: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, Path]:
    """The same rows as lists and as a row per token, each as pyarrow and as DuckDB write Parquet by default."""
    lists = """
        SELECT id, kind, target_spans[1].start AS start, target_spans[1]."end" AS "end", token_ids, logprob,
               entropy, rank FROM records JOIN token_stats USING (id) ORDER BY id"""
    rows = f"""
        SELECT id, kind, position, token_id, position >= start AND position < "end" AS is_target, logprob,
               entropy, rank
        FROM (SELECT id, kind, start, "end", unnest(range(len(token_ids))) AS position,
                     unnest(token_ids) AS token_id, unnest(logprob) AS logprob, unnest(entropy) AS entropy,
                     unnest(rank) AS rank FROM ({lists}))"""
    files = {}
    for layout, sql in {"lists": lists, "rows": rows}.items():
        for writer in ("duckdb", "pyarrow"):
            name = f"{layout}_{writer}"
            files[name] = folder / f"{name}.parquet"
            if writer == "duckdb":
                connection.execute(f"COPY ({sql}) TO '{files[name]}'")
            else:
                pq.write_table(connection.sql(sql).to_arrow_table(), files[name])
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{files[name]}'")
    return files


def _ask(connection: duckdb.DuckDBPyConnection, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time every query in each round, in turns; ValueError where two answer differently."""
    questions = {question: OURS[question] | PLAIN[question] for question in OURS}
    seconds: dict[str, dict[str, list[float]]] = {q: {name: [] for name in questions[q]} for q in questions}
    for question, queries in questions.items():
        answers = [_numbers(connection.sql(sql).fetchall()) for sql in queries.values()]  # warms up, too
        for name, answer in zip(queries, answers, strict=True):
            if any(not math.isclose(a, b, rel_tol=1e-4) for a, b in zip(answer, answers[0], strict=True)):
                raise ValueError(f"{question}: {name!r} answers {answer}, another query {answers[0]}")
    for _ in range(rounds):
        for question, queries in questions.items():
            for name, sql in queries.items():
                began = time.perf_counter()
                connection.execute(sql).fetchall()
                seconds[question][name].append(time.perf_counter() - began)
    return seconds


def _numbers(rows: list[tuple[object, ...]]) -> list[float]:
    """The perplexities of an answer, in order."""
    return sorted(float(str(row[-1])) for row in rows)


def _columns(store: Store, tokens: int) -> dict[str, float]:
    """Bytes per token of the lists' column chunks."""
    names = {
        "token_ids": "outcomes",
        "logprob": "token_stats",
        "entropy": "token_stats",
        "rank": "token_stats",
    }
    found = dict.fromkeys(names, 0)
    for table in set(names.values()):
        for part in store.files()[table]:
            footer = pq.read_metadata(part)
            for group in range(footer.num_row_groups):
                for index in range(footer.num_columns):
                    chunk = footer.row_group(group).column(index)
                    name = chunk.path_in_schema.partition(".")[0]
                    if names.get(name) == table:
                        found[name] += chunk.total_compressed_size
    return {name: size / tokens for name, size in found.items()}
