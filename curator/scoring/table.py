"""Token statistics as rows of the `token_stats` table."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from forgetless.curator.scoring.scorer import TokenStats
from forgetless.schemas.tables import HARD_PERPLEXITY, TOKEN_STATS


def stats_table(rows: list[tuple[dict[str, Any], TokenStats]], common: dict[str, Any]) -> pa.Table:
    """Arrow rows of (record with id and target_spans, statistics); `common` fills the columns they share."""
    stats = [stat for _, stat in rows]
    lists: dict[str, pa.Array] = {
        "logprob": _aligned([s.logprob for s in stats], pa.float32()),
        "entropy": _aligned([s.entropy for s in stats], pa.float32()),
        "rank": _aligned([s.rank for s in stats], pa.int32()),
    }
    if stats and stats[0].tail_mass is not None:
        lists["topk_ids"] = _aligned_top([s.topk_ids for s in stats], pa.int32())
        lists["topk_logprobs"] = _aligned_top([s.topk_logprobs for s in stats], pa.float32())
        lists["tail_mass"] = _aligned([s.tail_mass for s in stats], pa.float32())
    scalars = [_scalars(record["target_spans"], stat.logprob) for record, stat in rows]
    common = {**common, "created": datetime.now(UTC)}
    columns = []
    for column in TOKEN_STATS:
        if column.name in lists:
            columns.append(lists[column.name].cast(column.type))
        elif column.name == "id":
            columns.append(pa.array([record["id"] for record, _ in rows], column.type))
        elif column.name in _SCALARS:
            columns.append(pa.array([scalar[column.name] for scalar in scalars], column.type))
        else:
            columns.append(pa.array([common.get(column.name)] * len(rows), column.type))
    return pa.table(columns, schema=TOKEN_STATS)


_SCALARS = ("target_tokens", "sum_logprob", "min_logprob", "perplexity", "hard_tokens")


def _scalars(spans: list[dict[str, int]], logprob: np.ndarray) -> dict[str, Any]:
    """Sums over target tokens; `logprob[0]` is the second token's, and the first has none."""
    parts = [logprob[max(span["start"] - 1, 0) : max(span["end"] - 1, 0)] for span in spans]
    values = np.concatenate([*parts, np.empty(0)]).astype(np.float64)
    if not len(values):
        return dict.fromkeys(_SCALARS) | {"target_tokens": 0, "hard_tokens": 0}
    return {
        "target_tokens": len(values),
        "sum_logprob": values.sum(),
        "min_logprob": values.min(),
        "perplexity": np.exp(-values.mean()),
        "hard_tokens": int((values < -np.log(HARD_PERPLEXITY)).sum()),
    }


def _aligned(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Lists with a null in front, so that they are aligned with the record's tokens."""
    offsets = np.cumsum([0, *(len(value) + 1 for value in values)])
    flat = np.concatenate([np.concatenate([np.zeros(1, value.dtype), value]) for value in values])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat, kind, mask=_first(offsets)))


def _aligned_top(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The same for [T-1, K]: the first entry is a null list."""
    width = values[0].shape[1]
    offsets = np.cumsum([0, *(len(value) + 1 for value in values)])
    missing = _first(offsets)
    inner = np.cumsum(np.concatenate([[0], np.where(missing, 0, width)]))
    flat = pa.array(np.concatenate([value.reshape(-1) for value in values]), kind)
    rows = pa.ListArray.from_arrays(pa.array(inner, pa.int32()), flat, mask=pa.array(missing))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), rows)


def _first(offsets: np.ndarray) -> np.ndarray:
    mask = np.zeros(offsets[-1], bool)
    mask[offsets[:-1]] = True
    return mask
