"""The pull towards the base: its gradient and value, the Fisher, and that neither batches nor an interruption matter."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_records import random_examples
from transformers import TrainerCallback

from forgetless.curator.models import load_model
from forgetless.schemas.errors import UsageError
from forgetless.schemas.training import Training
from forgetless.train.anchor import FISHER, Anchor, diagonal_fisher, read_fisher
from forgetless.train.example import IGNORED, Example
from forgetless.train.packing import schedule
from forgetless.train.trainer import fit

State = dict[str, torch.Tensor]


def examples_with_replay() -> list[Example]:
    return [replace(e, source=i % 2) for i, e in enumerate(random_examples(24, 262))]


def settings(output: Path, **others: object) -> Training:
    return Training.model_validate(
        {
            "output": output,
            "learning_rate": 1e-2,
            "max_length": 64,
            "batch_size": 4,
            "save_every": 2,
            **others,
        }
    )


def fitted(
    tiny: Path, training: Training, steps: int = 4, callbacks: list[TrainerCallback] | None = None
) -> tuple[State, list[dict[str, float]]]:
    examples = examples_with_replay()
    plan = schedule(
        [len(e) for e in examples], 64, training.batch_size * training.accumulation, 0, steps=steps
    )
    lm = load_model(tiny, "float32")
    model, curve = fit(lm, examples, plan, training, training.output, callbacks=callbacks or [])
    return {name: value.detach().clone() for name, value in model.state_dict().items()}, curve


@pytest.mark.parametrize("weighted", [False, True])
def test_its_gradient_is_that_of_the_penalty(tiny: Path, weighted: bool) -> None:
    model = load_model(tiny, "float32").double()
    torch.manual_seed(0)
    fisher = {name: torch.rand_like(p) for name, p in model.named_parameters()} if weighted else None
    anchor = Anchor(model, 0.3, fisher)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    factor = fisher or dict.fromkeys(start, torch.ones((), dtype=torch.float64))
    penalty = 0.3 / 2 * sum((factor[n] * (p - start[n]) ** 2).sum() for n, p in model.named_parameters())
    expected = torch.autograd.grad(penalty, list(model.parameters()))
    before = [torch.randn_like(p) for p in model.parameters()]
    for place, (parameter, gradient) in enumerate(zip(model.parameters(), before, strict=True)):
        parameter.grad = gradient.clone() if place else None
    assert anchor.pull() == pytest.approx(float(penalty.detach()), rel=1e-12)
    for place, (parameter, gradient) in enumerate(zip(model.parameters(), before, strict=True)):
        wanted = expected[place] + (gradient if place else 0)
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-12, atol=1e-14)


class Gradients(TrainerCallback):
    """Keeps the gradients and weights of the second step."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == 1:
            self.gradients = [p.grad.clone() for p in model.parameters()]
            self.weights = [p.detach().clone() for p in model.parameters()]


def second_step(tiny: Path, output: Path, **others: object) -> tuple[Gradients, list[dict[str, float]]]:
    """In float64, with gradients that are never clipped."""
    kept, examples = Gradients(), examples_with_replay()
    training = settings(output, max_grad_norm=1e9, **others)
    plan = schedule([len(e) for e in examples], 64, training.batch_size * training.accumulation, 0, steps=2)
    lm = load_model(tiny, "float32").double()
    _, curve = fit(lm, examples, plan, training, output, callbacks=[kept])
    return kept, curve


def test_in_training_it_counts_once_a_step_however_that_is_divided(tiny: Path, tmp_path: Path) -> None:
    """The first step starts at the base, so that with and without it end at the same place: the second shows it."""
    start = [p.detach().double() for p in load_model(tiny, "float32").parameters()]
    plain, _ = second_step(tiny, tmp_path / "plain")
    anchor = {"kind": "l2", "strength": 0.5}
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        folder = tmp_path / f"{batch}"
        held, curve = second_step(tiny, folder, anchor=anchor, batch_size=batch, accumulation=accumulation)
        assert curve[0]["penalty"] == 0
        way = sum(float(((w - s) ** 2).sum()) for w, s in zip(held.weights, start, strict=True))
        assert curve[1]["penalty"] == pytest.approx(0.5 / 2 * way, rel=1e-12)
        rows = zip(held.gradients, plain.gradients, held.weights, start, strict=True)
        for gradient, without, weight, base in rows:
            torch.testing.assert_close(gradient - without, 0.5 * (weight - base), rtol=1e-6, atol=1e-9)


def test_in_training_it_counts_once_however_many_processes_share_a_step(tiny: Path, tmp_path: Path) -> None:
    states = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.pt"
        settings = {
            "weights": "float64",
            "batch_size": 2,
            "accumulation": 4,
            "steps": 3,
            "learning_rate": 0.01,
        }
        settings |= {"anchor": {"kind": "l2", "strength": 0.5}}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes), str(Path(__file__).with_name("fit_side.py"))]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [*command, str(tiny), str(out), json.dumps(settings)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        states.append(torch.load(out))
    one, two = states
    assert one["curve"][2]["penalty"] > 0
    assert one["curve"][2]["penalty"] == pytest.approx(two["curve"][2]["penalty"], rel=1e-9)
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=0, atol=1e-10)


def test_a_stronger_anchor_holds_closer(tiny: Path, tmp_path: Path) -> None:
    base = load_model(tiny, "float32").state_dict()
    away = []
    for strength in (1e-9, 10.0):
        anchor = {"kind": "l2", "strength": strength}
        state, _ = fitted(tiny, settings(tmp_path / f"{strength}", anchor=anchor), 10)
        away.append(sum(float((state[n] - base[n]).square().sum()) for n in base) ** 0.5)
    assert away[1] < away[0] / 2


def test_the_fisher_is_the_mean_square_of_each_records_gradient(tiny: Path) -> None:
    model = load_model(tiny, "float32").double()
    masked = [
        replace(e, labels=np.where(np.arange(len(e)) % 3 == 1, e.labels, IGNORED))
        for e in random_examples(5, 262)
        if len(e) > 2
    ]
    model.get_input_embeddings().requires_grad_(False)
    fisher = diagonal_fisher(model, masked)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert fisher.keys() == trained.keys()
    expected = {name: torch.zeros_like(p) for name, p in trained.items()}
    for example in masked:
        ids = torch.from_numpy(example.token_ids)
        logprobs = model(input_ids=ids[None], use_cache=False).logits[0].log_softmax(-1)
        total = sum(logprobs[t - 1, ids[t]] for t in range(1, len(ids)) if example.labels[t] != IGNORED)
        for name, slope in zip(trained, torch.autograd.grad(total, list(trained.values())), strict=True):
            expected[name] += slope**2 / len(masked)
    for name in trained:
        torch.testing.assert_close(fisher[name], expected[name], rtol=1e-9, atol=1e-14)


class StopAt(TrainerCallback):
    """As an interruption would, after a step that was saved."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            control.should_training_stop = True


@pytest.mark.parametrize(
    "anchor", [{"kind": "l2", "strength": 0.5}, {"kind": "ewc", "strength": 50.0, "records": 5}]
)
def test_a_training_with_an_anchor_goes_on_exactly(
    tiny: Path, tmp_path: Path, anchor: dict[str, object]
) -> None:
    others: dict[str, object] = {"anchor": anchor, "freeze": {"embeddings": True}}
    whole, curve = fitted(tiny, settings(tmp_path / "whole", **others), 6)
    again = settings(tmp_path / "stopped", **others)
    fitted(tiny, again, 6, [StopAt()])
    resumed, resumed_curve = fitted(tiny, again, 6)
    assert resumed_curve == curve
    assert curve[0]["penalty"] == 0 < curve[1]["penalty"]
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_fisher_is_stored_and_serves_another_training(tiny: Path, tmp_path: Path) -> None:
    first = {"kind": "ewc", "strength": 50.0, "records": 5}
    state, curve = fitted(tiny, settings(tmp_path / "first", anchor=first))
    stored = tmp_path / "first" / FISHER
    replay = [e for e in examples_with_replay() if e.source][:5]
    expected = diagonal_fisher(load_model(tiny, "float32"), replay)
    assert all(torch.equal(expected[name], value) for name, value in load_file(stored).items())
    second = {"kind": "ewc", "strength": 50.0, "fisher": stored}
    again, same = fitted(tiny, settings(tmp_path / "second", anchor=second))
    assert same == curve
    assert all(torch.equal(again[name], state[name]) for name in state)
    assert not (tmp_path / "second" / FISHER).exists()


def test_a_fisher_of_another_model_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(UsageError, match="cannot be read"):
        read_fisher(tmp_path / "text.safetensors", tiny_model)
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"has no 'model.embed_tokens.weight' of shape \(262, 64\)"):
        read_fisher(tmp_path / "other.safetensors", tiny_model)
