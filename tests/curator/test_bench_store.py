"""What a store costs and how fast it answers, at a fifth of what `forgetless bench store` measures."""

from pathlib import Path

import numpy as np
import pytest

from forgetless.benchmarks.made_store import KINDS, VOCABULARY, make_store, scores, zipf_ids
from forgetless.benchmarks.store import compare_store
from forgetless.curator.store.verify import verify


def test_the_figures_hold() -> None:
    compared = compare_store(records=2_000, tokens=500, rounds=7)
    assert compared.ids_and_logprob <= 5.4
    assert compared.with_entropy_and_rank <= 12
    assert compared.store_bytes < min(compared.plain_bytes.values())
    # Ten times at 10,000 records; what a query costs before it reads anything weighs more here.
    assert compared.mean_speedup >= 3
    assert compared.hardest_ratio <= 3


def test_the_made_store_is_whole(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", records=1_100, tokens=20)
    problems, rows = verify(store)
    assert problems == []
    assert (rows["outcomes"], rows["token_stats"], rows["vocab"]) == (1_100, 1_100, VOCABULARY)
    kinds = store.query("SELECT kind, avg(hard_share) AS hard FROM perplexity GROUP BY kind").to_pylist()
    assert {row["kind"] for row in kinds} == set(KINDS)
    assert [row["hard"] for row in kinds] == pytest.approx([0.235] * 4, abs=0.03)
    direct = store.query(
        "SELECT max(abs(ln(p.perplexity) + list_avg(s.logprob[r.target_spans[1].start + 1 :]))) AS off "
        "FROM perplexity p JOIN token_stats s USING (id) JOIN records r USING (id)"
    )
    assert direct["off"][0].as_py() < 1e-3


def test_made_scores_can_be_of_one_distribution() -> None:
    logprob, entropy, rank = scores(np.random.default_rng(0), 100_000)
    p = np.exp(logprob.astype(np.float64))
    assert (logprob <= 0).all() and (rank >= 1).all() and (rank <= np.maximum(1 / p * (1 + 1e-6), 2)).all()
    assert (entropy >= 0).all() and (entropy <= np.log(VOCABULARY) + 1e-3).all()
    assert (entropy[rank == 1] >= -logprob[rank == 1] - 1e-3).all(), "the likeliest token bounds the entropy"
    assert (p[rank > 1] <= 0.5 + 1e-6).all(), "a token that another precedes has no more than half"


def test_made_ids_follow_zipf() -> None:
    counts = np.sort(np.bincount(zipf_ids(np.random.default_rng(0), 1_000_000), minlength=VOCABULARY))[::-1]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    assert counts[0] / counts[99] == pytest.approx(100, rel=0.15)
