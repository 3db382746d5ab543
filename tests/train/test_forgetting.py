"""The reason for all of it: fine-tuned on something else a model forgets, and its own replay holds it."""

import json
from pathlib import Path

import pytest
import torch
from training_records import outcome

from forgetless.curator.models import load_model, load_tokenizer, tokenizer_fingerprint
from forgetless.curator.store import Store
from forgetless.schemas.outcome import Outcome
from forgetless.schemas.recipe import Recipe
from forgetless.train.run import train

SHARED = Path(__file__).parents[3] / "shared" / "data"


def stories(count: int, tokenizer: str) -> list[Outcome]:
    """Texts that stories260k writes from its start token alone."""
    torch.manual_seed(0)
    model = load_model(SHARED / "stories260k")
    start = torch.ones(count, 1, dtype=torch.long)
    texts = model.generate(start, do_sample=True, top_k=0, max_new_tokens=96, pad_token_id=2).tolist()
    rows = []
    for i, ids in enumerate(texts):
        end = ids.index(2) + 1 if 2 in ids else len(ids)
        rows.append(outcome(f"story{i:03}", "bos_replay", ids[:end], [(1, end)], tokenizer))
    return rows


def sums(count: int) -> list[Outcome]:
    """Word problems, tokenised as raw text."""
    tokenizer = load_tokenizer(SHARED / "stories260k")
    rows = []
    for i, line in enumerate((SHARED / "gsm8k" / "train_1000.jsonl").read_text().splitlines()[:count]):
        ids = [1, *tokenizer(json.loads(line)["question"], add_special_tokens=False)["input_ids"][:120], 2]
        rows.append(
            outcome(f"sum{i:03}", "ground_truth", ids, [(1, len(ids))], tokenizer_fingerprint(tokenizer))
        )
    return rows


def test_replay_reduces_forgetting(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("../shared is absent")
    store = Store.create(tmp_path / "store")
    vocabulary = tokenizer_fingerprint(load_tokenizer(SHARED / "stories260k"))
    store.append("outcomes", [*stories(100, vocabulary), *sums(100)])
    store.take_snapshot("made")
    lost = {}
    for share in (0.0, 0.5):
        training = {
            "output": tmp_path / f"replay{share}", "replay": {"share": share}, "held_out": {"count": 32},
            "steps": 30, "learning_rate": 1e-3, "max_length": 256, "batch_size": 4,
        }  # fmt: skip
        recipe = {"store": store.path, "model": {"path": str(SHARED / "stories260k")}, "train": training}
        (held_out,) = train(Recipe.model_validate(recipe)).changes
        assert held_out.metric == "cross_entropy"
        assert 1.0 < held_out.before < 2.5
        lost[share] = held_out.change
    assert lost[0.0] > 0.1
    assert lost[0.5] < lost[0.0] / 2
