"""The weighted loss against a plain float64 formula."""

from typing import Any

import pytest
import torch
from training_records import random_examples

from forgetless.schemas.errors import ModelError
from forgetless.train import loss
from forgetless.train.check import check_model
from forgetless.train.loss import token_nll
from forgetless.train.packing import collate


def plain_nll(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """float64 −log p of every token but the first."""
    logits = model.double()(input_ids=ids[None], use_cache=False).logits[0]
    return -logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]


@pytest.mark.parametrize("chunk", [7, 1024])
def test_loss_and_gradient_against_float64(
    tiny_model: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK_BYTES", {"cpu": 4 * 262 * chunk})
    examples = random_examples(6, 262)
    fields = collate([examples[:4], examples[4:]])
    weights = torch.rand(fields["token_weights"].shape) * fields["token_weights"]
    del fields["token_weights"], fields["sources"]
    ours = (token_nll(tiny_model, **fields) * weights[fields["shift_labels"] != -100]).sum()
    ours.backward()
    gradient = {name: p.grad.double() for name, p in tiny_model.named_parameters()}
    tiny_model.zero_grad()
    reference = torch.cat([plain_nll(tiny_model, torch.from_numpy(e.token_ids)) for e in examples])
    expected = (reference * weights[fields["shift_labels"] != -100].double()).sum()
    expected.backward()
    assert abs(ours.item() - expected.item()) < 1e-4 * expected.item()
    for name, p in tiny_model.named_parameters():
        assert torch.allclose(gradient[name], p.grad, rtol=1e-3, atol=1e-4), name


def test_a_model_that_rescales_its_logits_unknown_to_us_is_refused(tiny_model: Any) -> None:
    check_model(tiny_model, packing=True)
    tiny_model.lm_head.register_forward_hook(lambda module, args, out: out * 3 if out.dim() == 3 else out)
    with pytest.raises(ModelError, match="rescales its logits"):
        check_model(tiny_model, packing=True)


@pytest.mark.parametrize(
    ("family", "setting", "other"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}, {"final_logit_softcapping": None}),
        ("granite", {"logits_scaling": 4.0}, {"logits_scaling": 1.0}),
        ("cohere", {"logit_scale": 0.2}, {"logit_scale": 1.0}),
    ],
)
def test_families_with_scaled_logits(
    family: str, setting: dict[str, float], other: dict[str, float | None]
) -> None:
    model, another = scaled_model(family, setting), scaled_model(family, other)
    check_model(model, packing=True)
    another.load_state_dict(model.state_dict())
    (record,) = random_examples(1, 97)
    fields = collate([[record]])
    del fields["token_weights"], fields["sources"]
    with torch.no_grad():
        assert (token_nll(model, **fields) - token_nll(another, **fields)).abs().max() > 0.1


def scaled_model(family: str, setting: dict[str, float | None] | dict[str, float]) -> Any:
    """A tiny random model of a family that scales its logits, with large weights so that it shows."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, initializer_range=0.5, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, **setting,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()
