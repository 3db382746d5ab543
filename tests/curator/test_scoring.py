"""Scores against a float64 reference, and against what vLLM sampled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import recipe_of
from training_records import outcome
from transformers import AutoConfig

from forgetless.curator.chat.format import ChatFormat
from forgetless.curator.models import load_model, load_tokenizer, tokenizer_fingerprint
from forgetless.curator.scoring import Scorer
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build
from forgetless.pipelines.demo.files import retained_task
from forgetless.pipelines.demo.world import RETAINED
from forgetless.schemas.request import Message

TIE = 1e-5
"""Nats; closer log-probs float32 cannot tell apart."""


def reference(model: Any, ids: list[int]) -> tuple[np.ndarray, ...]:
    """Log-prob, entropy, lowest and highest rank in float64, one record at a time, from full logits.

    The ranks differ where other tokens are as probable as float32 can tell.
    """
    with torch.inference_mode():
        logits_TV = model(torch.tensor([ids])).logits[0, :-1]
    assert logits_TV.dtype == torch.float64
    logprobs_TV = logits_TV.log_softmax(-1)
    chosen_T = logprobs_TV.gather(1, torch.tensor(ids[1:])[:, None])
    entropy_T = -(logprobs_TV.exp() * logprobs_TV).sum(1)
    low_T = (logprobs_TV > chosen_T + TIE).sum(1) + 1
    high_T = (logprobs_TV > chosen_T - TIE).sum(1)  # the token itself is among them
    return chosen_T[:, 0].numpy(), entropy_T.numpy(), low_T.numpy(), high_T.numpy()


def check(store: Store, folder: Path, top_k: int) -> None:
    rows = store.query(
        "SELECT r.token_ids, s.* EXCLUDE (id) FROM records r JOIN token_stats s USING (id)"
    ).to_pylist()
    assert len(rows) == 50
    model = load_model(folder, "float32").double()
    for row in rows:
        logprob, entropy, low, high = reference(model, row["token_ids"])
        assert row["logprob"][0] is None and row["entropy"][0] is None and row["rank"][0] is None
        assert np.abs(np.array(row["logprob"][1:]) - logprob).max() < 1e-4
        assert np.abs(np.array(row["entropy"][1:]) - entropy).max() < 1e-4
        rank = np.array(row["rank"][1:])
        assert (low <= rank).all() and (rank <= high).all()
        assert row["perplexity"] == pytest.approx(np.exp(-logprob.mean()), rel=1e-4)
        assert row["hard_tokens"] == (logprob < -np.log(2.5)).sum() and row["target_tokens"] == len(logprob)
        mass = np.exp(np.array(row["topk_logprobs"][1:])).sum(1) + np.array(row["tail_mass"][1:])
        assert np.abs(mass - 1).max() < 1e-4 and {len(ids) for ids in row["topk_ids"][1:]} == {top_k}
        best = [
            ids[0] == own
            for ids, own, r in zip(row["topk_ids"], row["token_ids"], row["rank"], strict=True)
            if r == 1
        ]
        assert all(best)


def build(tmp_path: Path, model: Path, engine: str) -> Store:
    steps = [
        {"pipeline": "bos_replay", "count": 50, "sampling": {"max_tokens": 200}, "filters": {"max_repetition": 1}},
        {"pipeline": "score", "top_k": 5, "batch_tokens": 2048},
    ]  # fmt: skip
    recipe = recipe_of(
        tmp_path / "store", model, steps, engine={"kind": engine, "enforce_eager": True, "dtype": "float32"}
    )
    Build(recipe).run()
    return Store.open(tmp_path / "store")


def test_stories_against_float64_and_vllm(tmp_path: Path, shared: Path) -> None:
    store = build(tmp_path, shared / "stories260k", "vllm")
    check(store, shared / "stories260k", top_k=5)
    rms = store.query("SELECT sqrt(avg((logprob - sampled_logprob) ** 2)) AS rms FROM tokens WHERE is_target")
    assert rms["rms"][0].as_py() < 0.01
    assert verify(store)[0] == []


def test_demo_model_against_float64(tmp_path: Path, demo_model: Path) -> None:
    check(build(tmp_path, demo_model, "transformers"), demo_model, top_k=5)


def test_batches_do_not_matter(demo_model: Path) -> None:
    scorer = Scorer(demo_model, "float32")
    chat = ChatFormat.of(load_tokenizer(demo_model))
    rows = [row for name in RETAINED for row in retained_task(name, 5)]
    turns = [("user", "prompt"), ("assistant", "reference")]
    talks = [[Message(role=role, content=row[key]) for role, key in turns] for row in rows]
    records = [(str(i), chat.render(talk)[0]) for i, talk in enumerate(talks)]
    apart = dict(scorer.score(records, batch_tokens=1))
    together = dict(scorer.score(records, batch_tokens=10_000))
    for key, stats in apart.items():
        assert np.abs(stats.logprob - together[key].logprob).max() < 1e-5


def stored(folder: Path, model: Path, lengths: dict[str, tuple[int, list[tuple[int, int]]]]) -> Store:
    """Records of the id 5, named, so long and with these target spans, in the vocabulary of `model`."""
    store = Store.create(folder)
    vocabulary = tokenizer_fingerprint(load_tokenizer(model))
    rows = [outcome(name, "imported", [5] * n, spans, vocabulary) for name, (n, spans) in lengths.items()]
    store.append("outcomes", rows)
    return store


def reasons(store: Store) -> dict[str, str | None]:
    found = store.query("SELECT id, rejection FROM token_stats ORDER BY created").to_pylist()
    return {row["id"]: row["rejection"] for row in found}


def test_what_cannot_be_scored_is_rejected_with_its_reason_and_the_rest_scored(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = AutoConfig.from_pretrained(demo_model).max_position_embeddings
    lengths = {
        "fine": (20, [(1, 20)]), "long": (limit + 9, [(1, limit + 9)]), "no target": (9, []),
        "first only": (9, [(0, 1)]), "one token": (1, [(0, 1)]), "full": (limit, [(3, limit)]),
    }  # fmt: skip
    store = stored(tmp_path / "store", demo_model, lengths)
    ok = outcome(
        "outside", "imported", [5, 6, 99_999], [(1, 3)], tokenizer_fingerprint(load_tokenizer(demo_model))
    )
    store.append("outcomes", [ok, outcome("foreign", "imported", [5, 6], [(1, 2)], "another")])
    recipe = recipe_of(tmp_path / "store", demo_model, [{"pipeline": "score"}])
    assert Build(recipe).run().run_id
    assert reasons(store) == {
        "fine": None, "full": None, "long": "too_long", "no target": "no_target", "first only": "no_target",
        "one token": "no_target", "outside": "outside_vocabulary", "foreign": "other_tokenizer",
    }  # fmt: skip
    assert "3 records are not scored, no_target" in capsys.readouterr().err
    assert store.query("FROM rejects WHERE stage = 'score'").num_rows == 6
    assert store.query("SELECT sum(rows) AS n FROM survival WHERE stage = 'score'")["n"][0].as_py() == 8
    assert Build(recipe).run().run_id is None  # nothing is left to do
    in_windows = recipe_of(tmp_path / "store", demo_model, [{"pipeline": "score", "long": "windows"}])
    assert Build(in_windows).run().run_id
    assert reasons(store)["long"] is None
    assert store.query("SELECT windows FROM perplexity WHERE id = 'long'")["windows"].to_pylist() == [2]
    assert store.query("FROM rejects WHERE stage = 'score'").num_rows == 5
    assert Build(in_windows).run().run_id is None
    assert verify(store)[0] == []


def test_damaged_weights_reject_what_they_touch(tmp_path: Path, demo_model: Path) -> None:
    model = load_model(demo_model, "float32")
    with torch.no_grad():
        model.get_input_embeddings().weight[6] = float("nan")
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(load_model(demo_model, "float32").lm_head.weight.clone())
    model.save_pretrained(tmp_path / "damaged")
    load_tokenizer(demo_model).save_pretrained(tmp_path / "damaged")
    store = stored(tmp_path / "store", demo_model, {"fine": (9, [(1, 9)]), "also fine": (7, [(1, 7)])})
    vocabulary = tokenizer_fingerprint(load_tokenizer(demo_model))
    store.append("outcomes", [outcome("touched", "imported", [5, 6, 5, 5], [(1, 4)], vocabulary)])
    Build(recipe_of(tmp_path / "store", tmp_path / "damaged", [{"pipeline": "score"}])).run()
    assert reasons(store) == {"fine": None, "also fine": None, "touched": "not_finite"}
    for column in ("logprob", "perplexity", "target_tokens"):
        found = store.query(f"SELECT {column} AS c FROM token_stats WHERE id = 'touched'")
        assert found["c"].to_pylist() == [None]


def test_the_row_says_what_the_weights_were(tmp_path: Path, demo_model: Path) -> None:
    store = stored(tmp_path / "store", demo_model, {"fine": (30, [(1, 30)])})
    steps = [{"pipeline": "score", "name": name, "dtype": name} for name in ("float32", "bfloat16")]
    Build(recipe_of(tmp_path / "store", demo_model, steps)).run()
    found = store.query("SELECT dtype, sum_logprob / target_tokens AS mean FROM token_stats").to_pylist()
    means = {row["dtype"]: row["mean"] for row in found}
    assert means.keys() == {"float32", "bfloat16"}
    assert 0 < abs(means["float32"] - means["bfloat16"]) < 0.05
