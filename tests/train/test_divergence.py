"""KL from the base and cross entropy, against formulas in float64."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from measured import by_hand, write
from training_records import random_examples

from forgetless.curator.head import Head
from forgetless.curator.models import load_model, load_tokenizer
from forgetless.curator.store import Store
from forgetless.schemas.model import Model
from forgetless.schemas.suite import Suite
from forgetless.train.eval_run import Evaluation
from forgetless.train.example import Example
from forgetless.train.measures import reading

REPLAY = "SELECT id FROM records WHERE kind = 'bos_replay'"


def moved(lm: Any, by: float = 0.02) -> Any:
    """The same model a little further on."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)
    return lm


@pytest.fixture
def tuned(tiny: Path, tmp_path: Path) -> Path:
    """Folder of the tiny model, moved."""
    load_tokenizer(tiny).save_pretrained(tmp_path / "tuned")
    moved(load_model(tiny)).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def kl_by_hand(base: Any, lm: Any, examples: Sequence[Example]) -> list[float]:
    values = []
    for example in examples:
        p, q = by_hand(base, example), by_hand(lm, example)
        values += (p.exp() * (p - q)).sum(1)[torch.from_numpy(example.is_target[1:])].tolist()
    return values


@pytest.mark.parametrize("logits", [1, 3_000, 1 << 22])
def test_kl_is_exact_however_it_is_cut(tiny: Path, logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reading.LOGITS_AT_ONCE, "cpu", logits)
    sizes, forward = [], Head.forward
    monkeypatch.setattr(Head, "forward", lambda head, h: sizes.append(h.shape[0]) or forward(head, h))
    examples = [
        *random_examples(12, 262),
        Example.of("some", "answer", list(range(3, 30)), [(5, 9), (20, 27)]),
    ]
    base, lm = load_model(tiny, "float32"), moved(load_model(tiny, "float32"))
    found = reading.batch_kl(base, lm, examples).tolist()
    assert found == pytest.approx(kl_by_hand(base, lm, examples), abs=1e-6, rel=1e-4)
    assert max(found) > 1e-3
    assert max(sizes) <= max(1, logits // 262) and sum(sizes) == 2 * len(found)


def test_kl_is_forward(tiny: Path) -> None:
    examples = random_examples(6, 262)
    base, lm = load_model(tiny, "float32"), moved(load_model(tiny, "float32"), 0.2)
    found = reading.batch_kl(base, lm, examples).mean().item()
    assert found == pytest.approx(torch.tensor(kl_by_hand(base, lm, examples)).mean().item(), rel=1e-4)
    assert found != pytest.approx(torch.tensor(kl_by_hand(lm, base, examples)).mean().item(), rel=1e-2)


def test_a_model_has_not_moved_from_itself(tiny_model: Any) -> None:
    assert reading.batch_kl(tiny_model, tiny_model, random_examples(12, 262)).abs().max() < 1e-6


def test_kl_and_cross_entropy_of_a_suite(
    suite: Callable[..., Suite], make_store: Callable[[], Store], tiny: Path, tuned: Path, tmp_path: Path
) -> None:
    write(tmp_path / "pairs.jsonl", [{"prompt": f"what is {i}?", "completion": "a number"} for i in range(5)])
    replay = {"name": "replay", "sql": REPLAY, "limit": 8, "max_tokens": 20}
    inputs = {"name": "inputs", "path": "pairs.jsonl", "role": "target"}
    settings = suite(texts=[replay], kl=[inputs, replay])
    evaluation = Evaluation(settings, Model(path=str(tuned)), Model(path=str(tiny)), make_store())
    text, target, kept = evaluation.run().figures
    assert [f.metric for f in (text, target, kept)] == ["cross_entropy", "kl", "kl"]
    assert (target.role, kept.role) == ("target", "retained")
    assert target.count == 5 * (len("a number") + 1)  # bytes, and the end of the turn
    assert text.count == kept.count == 8 * 19
    probes = [measure.probe for measure in evaluation.measures()]
    base, lm = load_model(tiny), load_model(tuned)
    for figure, probe in zip((target, kept), probes[1:], strict=True):
        assert isinstance(probe, reading.Reading)
        by_formula = kl_by_hand(base, lm, probe.passages)
        assert figure.value == pytest.approx(sum(by_formula) / len(by_formula), rel=1e-4)
    nll = []
    assert isinstance(probes[0], reading.Reading)
    for example in probes[0].passages:
        ids = torch.from_numpy(example.token_ids[1:])[:, None]
        nll += (-by_hand(lm, example).gather(1, ids)[:, 0]).tolist()
    assert text.value == pytest.approx(sum(nll) / len(nll), rel=1e-5)
