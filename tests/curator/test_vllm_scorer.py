"""Scores by a real vLLM against those of our own forward pass."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from given import recipe_of

from forgetless.curator.engines.arrays import packed, unpacked
from forgetless.curator.models import load_tokenizer
from forgetless.curator.scoring import Scorer, TokenStats
from forgetless.curator.scoring.vllm import VllmScorer
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build
from forgetless.schemas.model import Engine

TOP_K = 5
CLEAR = 1e-3
"""Nats between two candidates whose order rounding does not change."""
Scores = dict[str, TokenStats]


@pytest.fixture(scope="module")
def records(demo_model: Path) -> list[tuple[str, list[int]]]:
    """Random ids of many lengths, of which one fills the model's context and one is a pair."""
    rng = np.random.default_rng(0)
    size, context = len(load_tokenizer(demo_model)), 512
    lengths = [2, *rng.integers(3, 200, size=20).tolist(), context]
    return [(str(i), rng.integers(0, size, size=n).tolist()) for i, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def both(
    demo_model: Path, records: list[tuple[str, list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scores, Scores]]:
    """By vLLM, among records that it cannot run, and by us."""
    config = Engine(dtype="float32", enforce_eager=True)
    scorer = VllmScorer(demo_model, config, TOP_K, tmp_path_factory.mktemp("log") / "log")
    bad = [("long", [5] * 513), ("outside", [5, 10**6])]
    theirs = dict(scorer.score([*records[:3], *bad, *records[3:]]))
    scorer.close()
    yield theirs, dict(Scorer(demo_model, "float32", TOP_K).score(records))


def test_the_model_has_the_context_that_is_tested(demo_model: Path) -> None:
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(demo_model).max_position_embeddings == 512


def test_log_probs_are_ours(both: tuple[Scores, Scores]) -> None:
    theirs, ours = both
    error = np.concatenate([theirs[name].logprob - ours[name].logprob for name in ours])
    assert np.sqrt((error.astype(np.float64) ** 2).mean()) <= 1e-3
    for name, stats in ours.items():
        assert theirs[name].entropy is None and theirs[name].windows == 1
        assert theirs[name].logprob.shape == stats.logprob.shape
        assert theirs[name].logprob.dtype == np.float32


def test_the_top_is_ours_where_it_is_clear(both: tuple[Scores, Scores]) -> None:
    theirs, ours = both
    clear_places = 0
    for name, stats in ours.items():
        top, ids = stats.topk_logprobs, stats.topk_ids
        assert top is not None and ids is not None and stats.tail_mass is not None
        after = np.concatenate([-np.diff(top), np.zeros((len(top), 1))], 1)  # the next one is not known
        before = np.concatenate([np.full((len(top), 1), np.inf), -np.diff(top)], 1)
        clear = np.minimum(before, after) > CLEAR
        assert (theirs[name].topk_ids[clear] == ids[clear]).all()
        assert np.abs(theirs[name].topk_logprobs - top).max() < 1e-2
        assert np.abs(theirs[name].tail_mass - stats.tail_mass).max() < 1e-3
        clear_places += int(clear.sum())
    assert clear_places > 1000


def test_ranks_are_ours_but_for_near_ties(both: tuple[Scores, Scores]) -> None:
    theirs, ours = both
    differ = np.concatenate([theirs[name].rank != ours[name].rank for name in ours])
    assert differ.mean() < 0.05
    assert all((theirs[name].rank >= 1).all() for name in ours)


def test_what_vllm_cannot_run_has_no_figures_and_the_rest_is_scored(both: tuple[Scores, Scores]) -> None:
    theirs, ours = both
    assert theirs.keys() == {*ours, "long", "outside"}
    assert theirs["long"] is None and theirs["outside"] is None


def test_a_killed_process_costs_no_record(
    demo_model: Path, records: list[tuple[str, list[int]]], tmp_path: Path, both: tuple[Scores, Scores]
) -> None:
    config = Engine(dtype="float32", enforce_eager=True, in_flight=4)
    scorer = VllmScorer(demo_model, config, TOP_K, tmp_path / "log")
    scored: Scores = {}
    for name, stats in scorer.score(records):
        scored[name] = stats
        if len(scored) == 5:
            assert scorer._engine and scorer._engine._process
            scorer._engine._process.kill()
    scorer.close()
    assert scored.keys() == both[1].keys()
    assert all(np.abs(scored[name].logprob - both[1][name].logprob).max() < 1e-3 for name in scored)


def test_a_step_scores_with_vllm_and_says_what_it_lacks(tmp_path: Path, demo_model: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a hen eats"}\n{"text": "a hen"}\n')
    steps = [
        {"pipeline": "import", "path": "d.jsonl"},
        {"pipeline": "score", "engine": "vllm"},
        {"pipeline": "score", "name": "own"},
    ]
    engine = {"kind": "vllm", "enforce_eager": True}
    Build(recipe_of(tmp_path / "store", demo_model, steps, engine=engine)).run()
    store = Store.open(tmp_path / "store")
    assert verify(store)[0] == []
    rows = store.query("SELECT * FROM token_stats ORDER BY id, engine").to_pylist()
    assert [(row["engine"], row["lacks"]) for row in rows] == [
        ("transformers", []),
        ("vllm", ["entropy"]),
    ] * 2
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        assert theirs["perplexity"] == pytest.approx(ours["perplexity"], rel=1e-4)
        assert theirs["entropy"] is None and theirs["sum_entropy"] is None and theirs["topk_ids"] is None
        assert theirs["rank"] == ours["rank"] and theirs["target_tokens"] == ours["target_tokens"]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_arrays_cross_the_pipe_as_they_are(kind: type[np.generic]) -> None:
    array = (np.arange(12) - 6).astype(kind).reshape(4, 3)
    assert (unpacked(packed(array), kind, 4) == array).all()
    assert unpacked(packed(array[:0]), kind, 0).shape == (0, 0)
