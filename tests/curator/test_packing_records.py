"""Records that share a forward pass: what else is in it changes nothing, whatever the model's layers."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    FalconMambaConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from forgetless.curator.scoring import Scorer, TokenStats, attention, norms
from forgetless.curator.scoring.pool import ScorerPool
from forgetless.curator.scoring.windows import score_in_windows

VOCABULARY = 300
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "head_dim": 8,
}  # fmt: skip
MODELS: dict[str, tuple[PreTrainedConfig, bool]] = {
    "llama": (LlamaConfig(**SMALL), True),
    "heads of 16": (LlamaConfig(**(SMALL | {"head_dim": 16})), True),
    "qwen3": (Qwen3Config(**SMALL), True),
    "sliding window": (MistralConfig(**SMALL, sliding_window=9), True),
    "values of another size": (
        DeepseekV2Config(
            **SMALL | {"num_key_value_heads": 4},
            q_lora_rank=None,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=12,
            first_k_dense_replace=9,
        ),
        True,
    ),
    "learned positions": (
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        True,
    ),
    "capped scores": (Gemma2Config(**SMALL, sliding_window=9), False),
    "states": (FalconMambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2), False),
}
"""Configuration, and whether records can be laid end to end."""


def saved(folder: Path, config: PreTrainedConfig) -> Path:
    torch.manual_seed(0)
    config.initializer_range = 0.3  # so that what is before a token matters
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def random_records(count: int = 12, longest: int = 200) -> list[tuple[str, list[int]]]:
    rng = Random(0)
    lengths = [2, longest, *(rng.randint(2, longest) for _ in range(count - 2))]
    return [(str(i), [rng.randrange(VOCABULARY) for _ in range(length)]) for i, length in enumerate(lengths)]


def farthest(one: dict[str, TokenStats], other: dict[str, TokenStats]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name].logprob - other[name].logprob).max()) for name in one)


@pytest.mark.parametrize("name", MODELS)
def test_together_is_as_alone(tmp_path: Path, name: str) -> None:
    config, packed = MODELS[name]
    scorer = Scorer(saved(tmp_path, config), "float32", top_k=3)
    assert scorer.packed == packed
    records = random_records()
    alone = {name: stats for record in records for name, stats in scorer.score([record], 1)}
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for key, ids in records:  # the model's own attention, the plainest way
        with torch.inference_mode():
            logprobs_TV = model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
        own_T = logprobs_TV.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()
        assert np.abs(alone[key].logprob - own_T).max() < 1e-4
    for batch_tokens in (64, 300, 100_000):
        shuffled = Random(batch_tokens).sample(records, len(records))
        assert farthest(alone, dict(scorer.score(shuffled, batch_tokens))) < 1e-5


HALF = ["llama", "heads of 16", "qwen3", "sliding window", "values of another size", "capped scores"]


@pytest.mark.parametrize("way", ["fused", "in torch"])
@pytest.mark.parametrize("name", HALF)
def test_bfloat16_weights_cost_what_their_rounding_does(
    tmp_path: Path, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of half precision against torch's own, both from weights that are rounded alike; with numba and
    without."""
    assert attention.fused_softmax is not None and norms.fused_norm is not None
    if way == "in torch":
        monkeypatch.setattr(attention, "fused_softmax", None)
        monkeypatch.setattr(norms, "fused_norm", None)
    folder = saved(tmp_path, MODELS[name][0])
    records = random_records(4, 256)  # longer than a block of queries
    half = dict(Scorer(folder, "bfloat16").score(records))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().double()
    for key, ids in records:
        with torch.inference_mode():
            both = [m(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1) for m in (exact, model)]
        true, theirs = (x.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy() for x in both)
        ours = np.sqrt(np.mean((half[key].logprob - true) ** 2))
        assert ours < 1.5 * np.sqrt(np.mean((theirs - true) ** 2))
        assert ours < 0.1


@pytest.mark.parametrize(("name", "fused"), [("llama", True), ("qwen3", True), ("capped scores", False)])
def test_only_norms_that_are_just_that_are_replaced(name: str, fused: bool) -> None:
    """Gemma's add one to the weight. A replaced one still takes fp32."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[name][0], dtype=torch.bfloat16).eval()
    own = {key: layer for key, layer in model.named_modules() if type(layer).__name__.endswith("RMSNorm")}
    for layer in own.values():
        layer.weight.data.normal_()
    norms.fuse_norms(model)
    replaced = {key: layer for key, layer in model.named_modules() if isinstance(layer, norms.FusedNorm)}
    assert own and set(replaced) == (set(own) if fused else set())
    for key, layer in replaced.items():
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.randn(2, 7, len(layer.weight)).to(dtype)
            assert torch.allclose(layer(x), own[key](x), rtol=norms.PROBE_ERROR)


def test_several_processes_score_as_one(tmp_path: Path) -> None:
    folder = saved(tmp_path, MODELS["llama"][0])
    records = random_records(40)
    one = dict(Scorer(folder, "float32", top_k=3).score(records))
    pool = ScorerPool(folder, "float32", 3, False, ["cpu", "cpu"])
    try:
        assert farthest(one, dict(pool.score(records, 64))) < 1e-5
    finally:
        pool.close()


def test_a_long_record_is_scored_in_windows_with_context(tmp_path: Path) -> None:
    context = 64
    scorer = Scorer(saved(tmp_path, MODELS["llama"][0]), "float32", top_k=3)
    (name, ids), short = random_records(2, 200)[1], ("short", [1, 2, 3])
    found = dict(score_in_windows(scorer.score, [(name, ids), short], context))
    assert (found[name].windows, found["short"].windows) == (6, 1)
    logprob = found[name].logprob
    assert len(logprob) == len(found[name].tail_mass) == len(found[name].topk_ids) == 199
    whole = dict(scorer.score([(name, ids[:context])]))[name].logprob
    assert np.abs(logprob[: context - 1] - whole).max() < 1e-5
    for begin in range(32, 168, 32):  # a later window: its first half is context for the second
        window = dict(scorer.score([(name, ids[begin : begin + context])]))[name].logprob
        kept = logprob[begin + 31 : begin + 63]
        assert np.abs(kept - window[31 : 31 + len(kept)]).max() < 1e-5


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(saved(tmp_path, MODELS["llama"][0]), "float32")
    records = random_records()
    alone = dict(scorer.score(records))
    forward = torch.nn.Embedding.forward

    def scarce(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() > 250:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", scarce)
    assert farthest(alone, dict(scorer.score(records, 10_000))) < 1e-5


def test_what_is_not_a_number_stays_with_its_record(tmp_path: Path) -> None:
    folder = saved(tmp_path, MODELS["llama"][0])
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight[7] = float("nan")
    model.save_pretrained(folder)
    records = [(str(i), [1, 2, 7 if i == 3 else 5, 6, 8]) for i in range(6)]
    for dtype in ("float32", "bfloat16"):
        found = dict(Scorer(folder, dtype).score(records))
        broken = [name for name, stats in found.items() if not np.isfinite(stats.logprob).all()]
        assert broken == ["3"]
