"""A store of made-up records whose ids and scores are spread as real ones are: what `bench store` measures."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from forgetless.curator.store import Store
from forgetless.schemas.outcome import OUTCOMES
from forgetless.schemas.tables import HARD_PERPLEXITY, TOKEN_STATS, VOCAB

VOCABULARY = 50_000
KINDS = ("ground_truth", "self_output", "magpie", "bos_replay")
CHUNK_ROWS = 1000
"""Records of one commit, as scoring commits them."""

# Log-probs of 3,467 answer tokens under Llama-3-8B-Instruct: percentiles 0 to 100 of the perplexities that
# Selective Token Masking's authors published with their MBPP answers
# (github.com/appier-research/robust-llm-finetunes, Apache-2.0). 23.5 % of them are hard.
PERCENTILES = (
    -23.75, -14.83375, -12.855, -10.8125, -9.25, -8.375, -7.5, -6.305, -5.71875, -5.125, -4.60625, -4.1875,
    -3.766875, -3.421875, -3.105625, -2.782813, -2.444375, -2.184062, -1.9775, -1.800469, -1.515625,
    -1.321406, -1.105312, -0.980469, -0.886719, -0.785156, -0.695313, -0.6225, -0.562656, -0.498047,
    -0.445703, -0.394531, -0.341563, -0.296875, -0.253906, -0.223633, -0.185547, -0.158203, -0.134688,
    -0.113281, -0.09502, -0.080078, -0.066895, -0.058989, -0.049805, -0.041089, -0.036377, -0.031973,
    -0.027056, -0.022297, -0.019653, -0.016887, -0.014548, -0.012208, -0.01062, -0.009155, -0.007998,
    -0.006744, -0.005982, -0.00519, -0.004419, -0.00378, -0.00319, -0.002823, -0.002441, -0.001984, -0.001708,
    -0.001509, -0.001236, -0.000969, -0.000758, -0.000646, -0.000561, -0.000467, -0.000397, -0.000302,
    -0.000254, -0.000208, -0.000174, -0.000144, -0.000115, -9.3e-05, -7.8e-05, -6.6e-05, -5.4e-05, -4.2e-05,
    -3.6e-05, -3.2e-05, -2.7e-05, -2.3e-05, -2e-05, -1.7e-05, -1.4e-05, -1e-05, -8e-06, -5e-06, -3e-06,
    -1e-06, 0.0, 0.0, 0.0,
)  # fmt: skip


def make_store(path: Path, records: int = 10_000, tokens: int = 500, seed: int = 0) -> Store:
    """A new store of `records` scored records of `tokens` tokens on average, committed as a build does."""
    store, rng = Store.create(path), np.random.default_rng(seed)
    pieces = [f" w{token}" for token in range(VOCABULARY)]
    columns = [["v"] * VOCABULARY, range(VOCABULARY), pieces, [False] * VOCABULARY]
    store.append("vocab", pa.table(dict(zip(VOCAB.names, columns, strict=True)), schema=VOCAB))
    for first in range(0, records, CHUNK_ROWS):
        count = min(CHUNK_ROWS, records - first)
        lengths = rng.integers(tokens // 5, 2 * tokens - tokens // 5, count, endpoint=True)
        starts = np.maximum(lengths // rng.integers(4, 12, count), 1)  # the first token has no log-prob
        ids = [
            hashlib.blake2b(f"{seed}/{first + i}".encode(), digest_size=16).hexdigest() for i in range(count)
        ]
        store.append("outcomes", _outcomes(rng, ids, lengths, starts))
        store.append("token_stats", _scores(rng, ids, lengths, starts))
    return store


def zipf_ids(rng: np.random.Generator, count: int) -> np.ndarray:
    """int32 [count]: token ids where the n-th most frequent of the vocabulary is drawn 1/n as often as the first."""
    weight = 1 / np.arange(1, VOCABULARY + 1)
    ranked = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(count))
    return rng.permutation(VOCABULARY).astype(np.int32)[np.minimum(ranked, VOCABULARY - 1)]


def scores(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log-prob, entropy (float32, nats) and rank (int32) of `count` tokens, [count] each.

    Any three of one token could be of one distribution over the vocabulary: a token of probability p has a
    rank of at most 1/p, and the entropy lies between that of the most and the least even distribution in
    which a token has this p and this rank.
    """
    steps = np.linspace(0, 1, len(PERCENTILES))
    logprob = np.interp(rng.random(count), steps, PERCENTILES).astype(np.float32).astype(np.float64)
    p = np.exp(logprob)
    rank = np.floor(np.minimum(1 / p, VOCABULARY) ** rng.random(count)).astype(np.int32)
    rank = np.where(
        p < 1 / VOCABULARY, np.maximum(rank, 2), rank
    )  # the likeliest is no rarer than the average
    rest = np.clip(1 - p, 0, None)
    highest = -p * logprob + rest * np.log((VOCABULARY - 1) / np.maximum(rest, 1e-12))
    # Least even: the tokens before it have its p, and the first all that is left.
    largest = np.clip(1 - (rank - 1) * p, p, 1)
    evens = np.where(rank == 1, np.floor(1 / p), rank - 1)
    left = np.where(rank == 1, np.clip(1 - evens * p, 0, None), largest)
    lowest = -evens * p * logprob - left * np.log(np.maximum(left, 1e-12))
    entropy = lowest + rng.random(count) ** 4 * np.clip(highest - lowest, 0, None)
    return logprob.astype(np.float32), entropy.astype(np.float32), rank


def _outcomes(rng: np.random.Generator, ids: list[str], lengths: np.ndarray, starts: np.ndarray) -> pa.Table:
    spans = [[{"start": int(start), "end": int(end)}] for start, end in zip(starts, lengths, strict=True)]
    kinds = [KINDS[i] for i in rng.integers(0, len(KINDS), len(ids))]
    given = {
        "id": ids, "plan_id": ids, "kind": kinds, "pipeline": kinds, "task": ["made"] * len(ids),
        "token_ids": _lists(zipf_ids(rng, lengths.sum()), lengths), "target_spans": spans,
    }  # fmt: skip
    same = {
        "run_id": "r", "step": "made", "digest": "d", "stage": "answer", "status": "accepted", "ordinal": 0,
        "text": "", "ids_from": "engine", "tokenizer": "v", "metadata": "{}", "created": datetime.now(UTC),
    }  # fmt: skip
    return _table(OUTCOMES, given, same, len(ids))


def _scores(rng: np.random.Generator, ids: list[str], lengths: np.ndarray, starts: np.ndarray) -> pa.Table:
    logprob, entropy, rank = scores(rng, lengths.sum())
    edges = np.cumsum([0, *lengths])
    first = np.zeros(len(logprob), bool)
    first[edges[:-1]] = True
    targets = [slice(edge + start, end) for edge, start, end in zip(edges, starts, edges[1:], strict=False)]
    nats = [logprob[target].astype(np.float64) for target in targets]
    given = {
        "id": ids, "logprob": _lists(logprob, lengths, first), "entropy": _lists(entropy, lengths, first),
        "rank": _lists(rank, lengths, first), "target_tokens": [len(n) for n in nats],
        "sum_logprob": [n.sum() for n in nats], "min_logprob": [n.min() for n in nats],
        "sum_entropy": [entropy[target].sum(dtype=np.float64) for target in targets],
        "perplexity": [np.exp(-n.mean()) for n in nats],
        "hard_tokens": [int((n < -np.log(HARD_PERPLEXITY)).sum()) for n in nats],
    }  # fmt: skip
    same = {
        "scorer": "s", "model": "m", "tokenizer": "v", "dtype": "float32", "engine": "transformers",
        "run_id": "r", "windows": 1, "lacks": [], "created": datetime.now(UTC),
    }  # fmt: skip
    return _table(TOKEN_STATS, given, same, len(ids))


def _lists(values: np.ndarray, lengths: np.ndarray, missing: np.ndarray | None = None) -> pa.ListArray:
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values, mask=missing))


def _table(schema: pa.Schema, given: dict[str, object], same: dict[str, object], count: int) -> pa.Table:
    columns = [pa.array(given.get(f.name, [same.get(f.name)] * count), f.type) for f in schema]
    return pa.table(columns, schema=schema)
