"""How hard each kind of record is for the base model: perplexities of records and of tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from forgetless.curator.report.answers import ALL_KINDS
from forgetless.curator.report.heatmap import LEVELS
from forgetless.curator.report.resampling import Interval, interval, ratio_interval
from forgetless.schemas.tables import HARD_PERPLEXITY

PERCENTILES = (5, 25, 50, 75, 95)
RECORD_BINS = 24
"""Bins of a record's perplexity in a factor of ten."""
TOKEN_STEP = math.log(HARD_PERPLEXITY) / 46
"""Width in nats of a token's bin: two hundredths, with an edge at the threshold."""
TOKEN_BINS = 1000

# What stands in for an own answer is another kind's text: left out, as in `forgetless compare`.
_SCORED = """
    FROM records r JOIN token_stats s USING (id)
    WHERE s.scorer = $scorer AND s.rejection IS NULL AND isfinite(s.sum_logprob) AND s.target_tokens > 0
      AND r.fallback IS NULL
      AND ($task::VARCHAR IS NULL OR r.task = $task)"""

_RECORDS = f"""
    SELECT r.kind, coalesce(r.parent_id, r.id) AS prompt, avg(-s.sum_logprob / s.target_tokens) AS nll,
           list(-s.sum_logprob / s.target_tokens) AS nlls, sum(s.target_tokens)::DOUBLE AS tokens,
           sum(s.hard_tokens)::DOUBLE AS hard
    {_SCORED} GROUP BY ALL ORDER BY r.kind, prompt"""

_CLASS = "CASE " + " ".join(
    f"WHEN nll <= {math.log(level.upper)!r} THEN {index}" for index, level in enumerate(LEVELS[:-1])
) + f" ELSE {len(LEVELS) - 1} END"  # fmt: skip

# Bins are open below and closed above, so that a token is hard where its bin begins at the threshold or above.
_TOKENS = f"""
    WITH listed AS (
        SELECT r.kind, unnest(flatten(list_transform(r.target_spans,
            lambda span: s.logprob[span.start + 1 : span."end"]))) AS logprob {_SCORED}),
    known AS (SELECT kind, -logprob::DOUBLE AS nll FROM listed WHERE logprob IS NOT NULL AND NOT isnan(logprob))
    SELECT kind, {_CLASS} AS level,
           greatest(least(ceil(nll / {TOKEN_STEP!r}) - 1, {TOKEN_BINS - 1}), 0)::INT AS bin, count(*) AS tokens
    FROM known GROUP BY ALL"""


@dataclass(frozen=True)
class Quantiles:
    """Perplexities below which 5, 25, 50, 75 and 95 % lie."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True)
class Distribution:
    """One kind's scored records and their target tokens."""

    kind: str
    label: str
    records: int
    prompts: int
    tokens: int
    perplexity: Interval
    """exp of the mean over prompts of the mean -log p per target token."""
    hard: Interval
    """Share of the target tokens above the threshold; its interval is over prompts."""
    record_quantiles: Quantiles
    record_bins: list[int]
    """Records by perplexity, `RECORD_BINS` to a factor of ten, from 1 on."""
    token_quantiles: Quantiles
    token_bins: list[int]
    """Tokens by -log p, `TOKEN_BINS` bins of `TOKEN_STEP` nats from 0 on; the last holds all above."""
    levels: list[int]
    """Tokens in each class of `LEVELS`."""

    def above(self, threshold: float) -> float:
        """Share of tokens above a perplexity, to the next bin's edge."""
        return sum(self.token_bins[round(math.log(threshold) / TOKEN_STEP) :]) / self.tokens


def distributions(connection: duckdb.DuckDBPyConnection, scorer: str, task: str | None) -> list[Distribution]:
    """One per kind that `scorer` has scored records of, in the order of `ALL_KINDS`."""
    given = {"scorer": scorer, "task": task}
    prompts = connection.sql(_RECORDS, params=given).to_arrow_table().to_pylist()
    counts: dict[str, np.ndarray] = {}
    levels: dict[str, np.ndarray] = {}
    for kind, level, place, tokens in connection.sql(_TOKENS, params=given).fetchall():
        counts.setdefault(kind, np.zeros(TOKEN_BINS, np.int64))[place] += tokens
        levels.setdefault(kind, np.zeros(len(LEVELS), np.int64))[level] += tokens
    return [
        _distribution(kind, [row for row in prompts if row["kind"] == kind], counts[kind], levels[kind])
        for kind in ALL_KINDS
        if kind in counts
    ]


def _distribution(
    kind: str, prompts: Sequence[dict[str, Any]], counts: np.ndarray, levels: np.ndarray
) -> Distribution:
    nlls = np.concatenate([row["nlls"] for row in prompts])
    places = np.clip(nlls / math.log(10) * RECORD_BINS, 0, None).astype(int)
    return Distribution(
        kind=kind,
        label=ALL_KINDS[kind],
        records=len(nlls),
        prompts=len(prompts),
        tokens=int(counts.sum()),
        perplexity=interval([row["nll"] for row in prompts]).exp(),
        hard=ratio_interval([row["hard"] for row in prompts], [row["tokens"] for row in prompts]),
        record_quantiles=Quantiles(*map(_exp, np.percentile(nlls, PERCENTILES))),
        record_bins=np.bincount(places).tolist(),
        token_quantiles=Quantiles(*map(_exp, _binned_percentiles(counts))),
        token_bins=counts.tolist(),
        levels=levels.tolist(),
    )


def _binned_percentiles(counts: np.ndarray) -> np.ndarray:
    """Of -log p, by even spread within a bin: right to a hundredth of a nat."""
    edges = np.arange(TOKEN_BINS + 1) * TOKEN_STEP
    below = np.concatenate([[0], counts.cumsum()]) / counts.sum()
    return np.interp(np.array(PERCENTILES) / 100, below, edges)


def _exp(nats: float) -> float:
    return math.exp(min(float(nats), 700.0))
