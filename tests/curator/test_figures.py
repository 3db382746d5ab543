"""What is kept of the logits against float64, whatever the vocabulary."""

import pytest
import torch

from forgetless.curator.head import Head
from forgetless.curator.scoring import figures
from forgetless.curator.scoring.figures import token_figures

TIE = 1e-5
"""Nats; closer log-probs float32 cannot tell apart."""


class Model:
    """As much of a causal language model as its head needs."""

    def __init__(self, vocabulary: int, width: int, **config: float) -> None:
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(width, vocabulary, bias=False)
        torch.nn.init.normal_(self.linear.weight)
        self.config = self
        self.__dict__.update(config)

    def get_text_config(self) -> "Model":
        return self

    def get_output_embeddings(self) -> torch.nn.Linear:
        return self.linear


@pytest.fixture(autouse=True, params=["fused", "in torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to the figures: what a CPU does with numba, and what it does without."""
    assert figures.fused_figures is not None
    if request.param == "in torch":
        monkeypatch.setattr(figures, "fused_figures", None)


@pytest.mark.parametrize("vocabulary", [5, 130, 512, 4099, 50_257])
@pytest.mark.parametrize("top_k", [0, 1, 20])
@torch.inference_mode()
def test_figures_against_float64(vocabulary: int, top_k: int) -> None:
    model = Model(vocabulary, width=24)
    hidden_PD, next_P = torch.randn(70, 24), torch.randint(vocabulary, (70,))
    found = token_figures(Head(model), hidden_PD, next_P, top_k)
    logprobs_PV = (hidden_PD.double() @ model.linear.weight.double().T).log_softmax(1)
    chosen_P1 = logprobs_PV.gather(1, next_P[:, None])
    assert (found[0] - chosen_P1[:, 0]).abs().max() < 1e-4
    assert (found[1] + (logprobs_PV.exp() * logprobs_PV).sum(1)).abs().max() < 1e-4
    lowest_P, highest_P = ((logprobs_PV > chosen_P1 + tie).sum(1) + 1 for tie in (TIE, -TIE))
    assert (lowest_P <= found[2]).all() and (found[2] <= highest_P).all()
    if top_k:
        best = logprobs_PV.topk(min(top_k, vocabulary), 1)
        assert (found[3] == best.indices).all() and (found[4] - best.values).abs().max() < 1e-4
        assert (found[5] - (1 - best.values.exp().sum(1))).abs().max() < 1e-5
        assert found[5].min() >= 0


@torch.inference_mode()
def test_ties_share_the_better_rank_and_impossible_tokens_do_no_harm() -> None:
    model = Model(1000, width=4)
    model.linear.weight[:] = 0
    model.linear.weight[:10, 0] = 1
    model.linear.weight[500:] = -float("inf")
    hidden_PD = torch.ones(3, 4)
    logprob_P, entropy_P, rank_P = token_figures(Head(model), hidden_PD, torch.tensor([3, 400, 700]))
    assert rank_P.tolist() == [1, 11, 501]
    assert logprob_P[2] == -float("inf") and logprob_P[:2].isfinite().all()
    p = torch.tensor([1.0] * 10 + [0.0] * 490).double().softmax(0)
    assert entropy_P.double().numpy() == pytest.approx([float(-(p * p.log()).sum())] * 3, abs=1e-4)


@torch.inference_mode()
def test_heads_that_cap_and_scale() -> None:
    model = Model(512, width=8, final_logit_softcapping=3.0, logit_scale=2.0)
    hidden_PD, next_P = torch.randn(9, 8), torch.randint(512, (9,))
    logits_PV = hidden_PD.double() @ model.linear.weight.double().T * 2
    logprobs_PV = (torch.tanh(logits_PV / 3) * 3).log_softmax(1)
    found = token_figures(Head(model), hidden_PD, next_P)
    assert (found[0] - logprobs_PV.gather(1, next_P[:, None])[:, 0]).abs().max() < 1e-4


@torch.inference_mode()
def test_a_weight_that_is_no_number_makes_no_figure_that_is_one() -> None:
    model = Model(300, width=8)
    model.linear.weight[200] = float("nan")
    found = token_figures(Head(model), torch.randn(9, 8), torch.arange(9), 3)
    assert found[0].isnan().all() and found[1].isnan().all()
