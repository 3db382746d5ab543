"""The objectives that the current model decides over: small functions from a batch's tokens to weights or terms.

Shapes: N supervised tokens of a batch, K stored or current most probable ids. All in nats, fp32. Those that the store
alone decides over are in `weighting.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from forgetless.schemas import objectives as schema
from forgetless.schemas.objectives import Objective


@dataclass(frozen=True)
class Tokens:
    """What is known of the supervised tokens of a batch."""

    nll: Tensor
    """[N], with its gradient"""
    is_target: Tensor
    """bool [N]: not replay"""
    entropy: Tensor | None = None
    """[N], of the current top k made to sum to 1"""
    base_logprob: Tensor | None = None
    """[N], stored"""
    reference_logprob: Tensor | None = None
    """[N], stored, of Rho-1's reference"""
    divergence: Tensor | None = None
    """[N], KL(base ‖ current), with its gradient"""


def loss_per_token(objectives: Sequence[Objective], weights_N: Tensor, tokens: Tokens) -> Tensor:
    """[N]: stored weight · current weights · cross entropy (or what stands for it) + terms."""
    current_N = torch.where(tokens.is_target, current_weight(objectives, tokens), 1.0)
    loss_N = weights_N * current_N * _likelihood(objectives, tokens)
    for objective in objectives:
        if isinstance(objective, schema.Kl):
            assert tokens.divergence is not None
            concerned_N = concerned(objective, tokens.is_target)
            loss_N = loss_N + objective.beta * torch.where(concerned_N, tokens.divergence, 0.0)
    return loss_N


def current_weight(objectives: Sequence[Objective], tokens: Tokens) -> Tensor:
    """[N], detached: the product of all weights that follow from the current model."""
    nll_N = tokens.nll.detach()
    weights = [torch.ones_like(nll_N)]
    for objective in objectives:
        match objective:
            case schema.Dft():
                weights.append(dft(nll_N))
            case schema.Talr():
                weights.append(talr(nll_N, tokens.is_target, objective.temperature))
            case schema.Eaft():
                assert tokens.entropy is not None
                weights.append(eaft(tokens.entropy.detach(), objective.top_k, objective.alpha))
            case schema.Rho1():
                assert tokens.reference_logprob is not None
                excess_N = nll_N + tokens.reference_logprob
                weights.append(rho1(excess_N, tokens.is_target, objective.share))
    return reduce(torch.mul, weights)


def concerned(kl: schema.Kl, is_target: Tensor) -> Tensor:
    """bool [N]: the tokens that a KL term is taken over."""
    if kl.over == "all":
        return torch.ones_like(is_target)
    return is_target if kl.over == "targets" else ~is_target


def _likelihood(objectives: Sequence[Objective], tokens: Tokens) -> Tensor:
    """[N]: cross entropy, or on targets what stands for it."""
    for objective in objectives:
        if isinstance(objective, schema.Psft):
            assert tokens.base_logprob is not None
            base_N = tokens.base_logprob.where(tokens.is_target, 0.0)  # replay has none
            clipped_N = psft(tokens.nll, base_N, objective.low, objective.high)
            return torch.where(tokens.is_target, clipped_N, tokens.nll)
    return tokens.nll


def dft(nll: Tensor) -> Tensor:
    """p: the gradient of cross entropy times p is that of p itself (Wu et al. 2025)."""
    return (-nll).exp()


def talr(nll: Tensor, is_target: Tensor, temperature: float | None) -> Tensor:
    """exp(-nll / τ); τ is the median of the batch's targets if not given (Lin et al. 2025)."""
    if temperature is None:
        if not is_target.any():
            return torch.ones_like(nll)
        temperature = max(float(nll[is_target].quantile(0.5)), 1e-6)
    return (-nll / temperature).exp()


def eaft(entropy: Tensor, top_k: int, alpha: float) -> Tensor:
    """(H / ln k)^α, H the entropy of the top k made to sum to 1: 0 where the model is sure, 1 where it guesses.

    Some codes divide by 3.0 (ln 20 is 2.996), some not at all, which is a larger learning rate.
    """
    return (entropy.clamp(min=0) / math.log(top_k)).pow(alpha)


def rho1(excess: Tensor, is_target: Tensor, share: float) -> Tensor:
    """1 for the `share` of the targets with the largest excess of nll over the reference's, 0 for the others."""
    keep = round(share * int(is_target.sum()))
    chosen = excess.masked_fill(~is_target, -math.inf).topk(keep).indices
    return torch.zeros_like(excess).index_fill(0, chosen, 1.0)


def psft(nll: Tensor, base_logprob: Tensor, low: float, high: float) -> Tensor:
    """-min(r, clip(r, 1 - low, 1 + high)), r = p / p_base: PPO's clip with an advantage of 1 (Zhu et al. 2025)."""
    ratio = (-nll - base_logprob).exp()
    return -torch.minimum(ratio, ratio.clamp(1 - low, 1 + high))


def kl_of_top_k(base_NK: Tensor, base_rest_N: Tensor, current_NK: Tensor, current_rest_N: Tensor) -> Tensor:
    """Σ_k p_b·(ln p_b - ln p) + the same of the rest as one bucket: at most the KL over the whole vocabulary.

    All are log-probs; `rest` that of all other ids together, -inf where there is none.
    """
    top_N = (base_NK.exp() * (base_NK - current_NK)).sum(1)
    no_rest_N = base_rest_N == -math.inf
    rest_N = base_rest_N.exp() * (base_rest_N.masked_fill(no_rest_N, 0.0) - current_rest_N)
    return top_N + rest_N.masked_fill(no_rest_N, 0.0)
