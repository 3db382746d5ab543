"""Every objective that the current model decides over: value and gradient against a float64 formula."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_records import random_examples

from forgetless.curator.models import load_model, load_tokenizer
from forgetless.schemas.objectives import Dft, Eaft, Kl, Objective, Psft, Rho1, Talr
from forgetless.schemas.training import Training
from forgetless.train import loss
from forgetless.train.batch_loss import BatchLoss
from forgetless.train.example import IGNORED, Example
from forgetless.train.loss import stored_divergence
from forgetless.train.packing import collate, schedule
from forgetless.train.trainer import fit

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories260k"

VOCABULARY = 262
TOP = 20


def scored_examples() -> list[Example]:
    """Targets and replay with made-up weights and statistics of a base."""
    rng = np.random.default_rng(5)
    examples = []
    for number, example in enumerate(random_examples(9, VOCABULARY)):
        logits = rng.normal(size=(len(example), VOCABULARY)) * 2
        logprobs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
        ids = np.argsort(-logprobs, 1)[:, :TOP]
        stats = {
            "base_logprob": np.take_along_axis(logprobs, example.token_ids[:, None], 1)[:, 0],
            "reference_logprob": -rng.exponential(5, size=len(example)).astype(np.float32),
            "topk_ids": ids,
            "topk_logprobs": np.take_along_axis(logprobs, ids, 1),
        }
        weights = rng.random(len(example), dtype=np.float32) * (rng.random(len(example)) > 0.2)
        examples.append(replace(example.weighted(weights), source=number % 3, stats=stats))
    return examples


Formula = Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]
"""(log-probs [N, V] with gradient, target [N], what is stored) → loss per token [N]; all float64."""


def chosen(logprobs: Tensor, target: Tensor) -> Tensor:
    return logprobs.gather(1, target[:, None])[:, 0]


def dft(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    p = chosen(logprobs, target)
    return -p * torch.where(stored["target"], p.exp().detach(), 1) * stored["weight"]


def talr(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    nll = -chosen(logprobs, target)
    own = nll.detach()
    tau = np.median(own[stored["target"]].numpy())
    return nll * torch.where(stored["target"], (-own / tau).exp(), 1) * stored["weight"]


def eaft(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    top = logprobs.detach().exp().topk(TOP, 1).values
    top = top / top.sum(1, keepdim=True)
    weight = (-(top * top.log()).sum(1) / math.log(TOP)) ** 0.5
    return -chosen(logprobs, target) * torch.where(stored["target"], weight, 1) * stored["weight"]


def psft(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    p = chosen(logprobs, target)
    r = (p - stored["base_logprob"]).exp()
    clipped = -torch.minimum(r, r.clip(0.8, 1.28))
    return torch.where(stored["target"], clipped, -p) * stored["weight"]


def rho1(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    nll = -chosen(logprobs, target)
    excess = (nll.detach() + stored["reference_logprob"]).masked_fill(~stored["target"], -math.inf)
    keep = round(0.6 * int(stored["target"].sum()))
    limit = excess.sort(descending=True).values[keep - 1]
    return nll * torch.where(stored["target"], (excess >= limit).double(), 1) * stored["weight"]


def kl(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    base, ids = stored["topk_logprobs"], stored["topk_ids"]
    current = logprobs.gather(1, ids)
    rest, base_rest = 1 - current.exp().sum(1), 1 - base.exp().sum(1)
    divergence = (base.exp() * (base - current)).sum(1) + base_rest * (base_rest.log() - rest.log())
    return -chosen(logprobs, target) * stored["weight"] + 0.3 * divergence


def kl_on_replay_after_dft(logprobs: Tensor, target: Tensor, stored: dict[str, Tensor]) -> Tensor:
    plain = -chosen(logprobs, target) * stored["weight"]
    term = kl(logprobs, target, stored) - plain
    return dft(logprobs, target, stored) + torch.where(stored["target"], 0, term)


CASES: dict[str, tuple[list[Objective], Formula]] = {
    "sft": ([], lambda logprobs, target, stored: -chosen(logprobs, target) * stored["weight"]),
    "dft": ([Dft()], dft),
    "talr": ([Talr()], talr),
    "eaft": ([Eaft(alpha=0.5)], eaft),
    "psft": ([Psft()], psft),
    "rho1": ([Rho1()], rho1),
    "kl": ([Kl(beta=0.3)], kl),
    "dft and kl on replay": ([Dft(), Kl(beta=0.3, over="replay")], kl_on_replay_after_dft),
}


def tokens_of(fields: dict[str, Tensor], objectives: list[Objective]) -> tuple[Tensor, dict[str, Tensor]]:
    """Which tokens count, and what is stored of them, in float64."""
    counts = fields["token_weights"] != 0
    for objective in objectives:
        if isinstance(objective, Kl):
            counts |= (fields["sources"] > 0) | torch.tensor(objective.over == "all")
    supervised = (fields["shift_labels"] != IGNORED) & counts
    stored = {
        name: value[supervised].double() if value.is_floating_point() else value[supervised]
        for name, value in fields.items()
    }
    return supervised, stored | {"weight": stored["token_weights"], "target": stored["sources"] == 0}


@pytest.mark.parametrize("rows", [7, 4096])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient(tiny_model: Any, case: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_BYTES", {"cpu": 4 * VOCABULARY * rows})
    objectives, formula = CASES[case]
    batch = BatchLoss(objectives, sources=3)
    examples = scored_examples()
    fields = collate([examples[:4], examples[4:]], stats=batch.stats)
    ours, seen = batch(tiny_model, fields)
    ours.backward()
    gradient = {name: p.grad.double() for name, p in tiny_model.named_parameters()}
    tiny_model.zero_grad()
    names = ["base_logprob", "reference_logprob", "topk_ids", "topk_logprobs"]
    fields = collate([examples[:4], examples[4:]], stats=names)
    model = tiny_model.double()
    logits = torch.zeros(*fields["input_ids"].shape, VOCABULARY, dtype=torch.float64)
    for b, row in enumerate((examples[:4], examples[4:])):
        start = 0
        for example in row:  # each alone
            ids = torch.from_numpy(example.token_ids)
            logits[b, start : start + len(ids)] = model(input_ids=ids[None], use_cache=False).logits[0]
            start += len(ids)
    supervised, stored = tokens_of(fields, objectives)
    expected = formula(logits[supervised].log_softmax(-1), fields["shift_labels"][supervised], stored).sum()
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    scale = max(float(p.grad.abs().max()) for p in model.parameters())
    for name, p in model.named_parameters():
        assert (gradient[name] - p.grad).abs().max() < 1e-5 * scale, name
    counts = [int((stored["sources"] == source).sum()) for source in range(3)]
    assert seen[:, 2].tolist() == counts


def shown(name: str, base_NV: Tensor, tuned_NV: Tensor) -> float:
    """Share of the KL over the whole vocabulary, nats, that twenty ids and a bucket find."""
    base, tuned = base_NV.double().log_softmax(1), tuned_NV.double().log_softmax(1)
    whole = (base.exp() * (base - tuned)).sum(1)
    top = base_NV.log_softmax(1).topk(TOP, 1)
    stored = stored_divergence(tuned_NV, top.indices, top.values)
    assert (stored - whole).max() < 1e-5  # a bucket can only lose
    print(f"{name}: KL {whole.mean():.4f}, stored top {TOP} finds {stored.mean() / whole.mean():.1%} of it")
    return float(stored.mean() / whole.mean())


@pytest.mark.parametrize(("vocabulary", "peak"), [(512, 3), (32_000, 3), (32_000, 6)])
def test_stored_kl_is_a_lower_bound(vocabulary: int, peak: int) -> None:
    """Random distributions, changed at random: the flatter the base and the larger the vocabulary, the more is lost."""
    numbers = torch.Generator().manual_seed(0)
    base = torch.randn(400, vocabulary, generator=numbers) * peak
    tuned = base + torch.randn(400, vocabulary, generator=numbers) * 0.5
    found = shown(f"{vocabulary:,} ids, logits of spread {peak}", base, tuned)
    assert found > (0.3 if peak == 3 else 0.85)


def test_stored_kl_of_a_tuned_model(tmp_path: Path) -> None:
    """A model of 512 ids, tuned on school mathematics until it is another."""
    if not STORIES.is_dir():
        pytest.skip("../shared is absent")
    tokenizer = load_tokenizer(STORIES)
    lines = (STORIES.parent / "gsm8k" / "test_100.jsonl").read_text().splitlines()[:96]
    ids = [tokenizer(json.loads(line)["question"])["input_ids"][:200] for line in lines]
    examples = [Example.of(str(i), "ground_truth", one, [(1, len(one))]) for i, one in enumerate(ids)]
    plan = schedule([len(e) for e in examples[:64]], 256, 8, seed=0, steps=30)
    training = Training(output=tmp_path, learning_rate=1e-3, max_length=256)
    tuned, _ = fit(load_model(STORIES, "float32"), examples[:64], plan, training, tmp_path)
    base = load_model(STORIES, "float32")
    held_out = [torch.from_numpy(e.token_ids)[None] for e in examples[64:]]
    with torch.no_grad():
        both = [torch.cat([m(input_ids=one).logits[0] for one in held_out]) for m in (base, tuned.eval())]
    assert shown("stories260k, 512 ids, tuned on questions of GSM8K", *both) > 0.9


def test_kl_of_a_model_with_itself_is_nothing(tiny_model: Any) -> None:
    batch = BatchLoss([Kl(live=True, beta=1.0)], 1, tiny_model)
    fields = collate([[example.weighted(0)] for example in random_examples(5, VOCABULARY)])
    total, _ = batch(tiny_model, fields)
    total.backward()
    assert abs(total.item()) < 1e-3
    assert max(float(p.grad.abs().max()) for p in tiny_model.parameters()) < 1e-4
