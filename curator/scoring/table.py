"""Token statistics as rows of the `token_stats` table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from forgetless.curator.scoring.stats import TokenStats
from forgetless.schemas.tables import HARD_PERPLEXITY, TOKEN_STATS

LISTS = {"logprob": np.float32, "entropy": np.float32, "rank": np.int32, "tail_mass": np.float32}
TOP_LISTS = {"topk_ids": pa.int32(), "topk_logprobs": pa.float32()}
SCALARS = ("target_tokens", "sum_logprob", "min_logprob", "sum_entropy", "perplexity", "hard_tokens")


def stats_table(rows: list[tuple[dict[str, Any], TokenStats]], common: dict[str, Any]) -> pa.Table:
    """Arrow rows of (record with id and target_spans, statistics); `common` fills the columns they share."""
    stats = [stat for _, stat in rows]
    columns: dict[str, Any] = {
        "id": [record["id"] for record, _ in rows],
        "windows": [stat.windows for stat in stats],
        "lacks": [_lacks(stat) for stat in stats],
    }
    columns |= {name: _aligned([getattr(s, name) for s in stats], kind) for name, kind in LISTS.items()}
    columns |= {
        name: _aligned_top([getattr(s, name) for s in stats], kind) for name, kind in TOP_LISTS.items()
    }
    scalars = [_scalars(record["target_spans"], stat) for record, stat in rows]
    columns |= {name: [scalar[name] for scalar in scalars] for name in SCALARS}
    return _table(columns, common)


def rejected_table(rows: list[tuple[str, str]], common: dict[str, Any]) -> pa.Table:
    """Arrow rows of (id, reason) of records that the scorer cannot score: they have no figures."""
    return _table({"id": [row_id for row_id, _ in rows], "rejection": [why for _, why in rows]}, common)


def _table(columns: dict[str, Any], common: dict[str, Any]) -> pa.Table:
    common = {**common, "created": datetime.now(UTC)}
    size = len(columns["id"])
    arrays = []
    for column in TOKEN_STATS:
        values = columns.get(column.name, [common.get(column.name)] * size)
        arrays.append(
            values.cast(column.type) if isinstance(values, pa.Array) else pa.array(values, column.type)
        )
    return pa.table(arrays, schema=TOKEN_STATS)


def _lacks(stat: TokenStats) -> list[str]:
    return [name for name in ("entropy", "rank") if getattr(stat, name) is None]


def _scalars(spans: list[dict[str, int]], stat: TokenStats) -> dict[str, Any]:
    """Sums over target tokens; entry 0 of a list is the second token's, and the first has none."""
    values = _targets(spans, stat.logprob)
    if not len(values):
        return dict.fromkeys(SCALARS) | {"target_tokens": 0, "hard_tokens": 0}
    return {
        "target_tokens": len(values),
        "sum_logprob": values.sum(),
        "min_logprob": values.min(),
        "sum_entropy": None if stat.entropy is None else _targets(spans, stat.entropy).sum(),
        "perplexity": np.exp(-values.mean()),
        "hard_tokens": int((values < -np.log(HARD_PERPLEXITY)).sum()),
    }


def _targets(spans: list[dict[str, int]], values: np.ndarray) -> np.ndarray:
    parts = [values[max(span["start"] - 1, 0) : max(span["end"] - 1, 0)] for span in spans]
    return np.concatenate([*parts, np.empty(0)]).astype(np.float64)


def _aligned(values: Sequence[np.ndarray | None], kind: type) -> pa.Array:
    """Lists with a null in front, so that they are aligned with the record's tokens. NaN becomes null.

    All null where the scorer does not give them.
    """
    given = [value for value in values if value is not None]
    if len(given) < len(values) or not given:
        return pa.nulls(len(values), pa.list_(pa.from_numpy_dtype(kind)))
    offsets = np.cumsum([0, *(len(value) + 1 for value in given)])
    flat = np.concatenate([np.concatenate([np.zeros(1, value.dtype), value]) for value in given]).astype(kind)
    missing = _first(offsets) | np.isnan(flat)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat, mask=missing))


def _aligned_top(values: Sequence[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    """The same for [T-1, K]: the first entry is a null list."""
    given = [value for value in values if value is not None]
    if len(given) < len(values) or not given:
        return pa.nulls(len(values), pa.list_(pa.list_(kind)))
    width = given[0].shape[1]
    offsets = np.cumsum([0, *(len(value) + 1 for value in given)])
    missing = _first(offsets)
    inner = np.cumsum(np.concatenate([[0], np.where(missing, 0, width)]))
    flat = pa.array(np.concatenate([value.reshape(-1) for value in given]), kind)
    rows = pa.ListArray.from_arrays(pa.array(inner, pa.int32()), flat, mask=pa.array(missing))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), rows)


def _first(offsets: np.ndarray) -> np.ndarray:
    mask = np.zeros(offsets[-1], bool)
    mask[offsets[:-1]] = True
    return mask
