"""Measuring in the middle of a training leaves no trace in it."""

from collections.abc import Callable
from pathlib import Path
from random import random, seed
from typing import Any

import numpy as np
import pytest
import torch
from measured import write

from forgetless.curator.models import load_model, load_tokenizer
from forgetless.schemas.model import Model
from forgetless.schemas.suite import Suite
from forgetless.train.asking import Asking
from forgetless.train.eval_run import Evaluation
from forgetless.train.evaluate import figures_of
from forgetless.train.untouched import untouched


def dropout_model(adapters: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    lm = LlamaForCausalLM(
        LlamaConfig(vocab_size=262, attention_dropout=0.2, max_position_embeddings=256, **size)
    )
    if not adapters:
        return lm
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(lm, config)


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_measuring_during_training_changes_nothing(
    suite: Callable[..., Suite], tiny: Path, tmp_path: Path, adapters: bool, wrapped: bool
) -> None:
    write(tmp_path / "task.jsonl", [{"prompt": f"{i}", "reference": "x"} for i in range(3)])
    write(tmp_path / "texts.jsonl", [{"text": "some words"}, {"text": "some more"}])
    settings = suite(
        tasks=[{"name": "task", "path": "task.jsonl", "max_tokens": 4}],
        kl=[{"name": "moved", "path": "texts.jsonl"}],
        behaviour=[{"name": "free", "path": "task.jsonl", "max_tokens": 4, "metrics": ["harm"]}],
    ).subset(2)
    base = Model(path=str(tiny))
    wanted = Evaluation(settings, base, base=base).measures()
    asking, reference = Asking.of(tiny, load_tokenizer(tiny)), load_model(tiny)

    def train(every: int) -> tuple[list[torch.Tensor], list[float]]:
        lm = dropout_model(adapters).train()
        inner = lm.get_base_model() if adapters else lm
        inner.lm_head.eval()  # a part that is in eval mode stays so
        if wrapped:  # as trainers do it: what runs is a loss
            inner.forward = lambda **inputs: type(inner).forward(inner, **inputs).loss
        optimiser = torch.optim.AdamW([p for p in lm.parameters() if p.requires_grad], 1e-3)
        kl = []
        torch.manual_seed(5)
        for step in range(4):
            ids = torch.randint(3, 262, (2, 16))
            out = lm(input_ids=ids, labels=ids)
            (out if wrapped else out.loss).backward()
            optimiser.step()
            optimiser.zero_grad()
            if every:
                figures = figures_of(lm, asking, wanted, f"run:{step}", reference)
                kl += [figure.value for figure in figures if figure.metric == "kl"]
                assert {figure.count for figure in figures if figure.metric != "kl"} == {2}
                assert not {figure.key for figure in figures} & {measure.key for measure in wanted}
                assert lm.training and not inner.lm_head.training and ("forward" in vars(inner)) == wrapped
        if every:  # measured in training as it would be afterwards
            done = figures_of(lm.eval(), asking, wanted, f"run:{step}", reference)
            assert done == figures
        return [p.detach().clone() for p in lm.parameters()], kl

    (without, _), (measured, kl) = train(0), train(1)
    assert all(torch.equal(a, b) for a, b in zip(without, measured, strict=True))
    assert len(set(kl)) == 4  # each step is another model
    figure = figures_of(reference, asking, wanted, "base", reference)[1]
    assert (figure.metric, abs(figure.value) < 1e-6) == ("kl", True)


def test_whatever_draws_while_measuring_draws_for_itself(tiny_model: Any) -> None:
    def drawn() -> list[float]:
        return [torch.rand(1).item(), random(), np.random.random()]

    torch.manual_seed(0), seed(0), np.random.seed(0)
    wanted = drawn() + drawn()
    torch.manual_seed(0), seed(0), np.random.seed(0)
    before = drawn()
    with pytest.raises(KeyError), untouched(tiny_model):
        drawn()
        raise KeyError
    assert before + drawn() == wanted
