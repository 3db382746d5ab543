"""From hidden states to what the loss is made of, without logits of a whole batch ever existing.

Shapes: B rows of T tokens, N supervised tokens, D width, V vocabulary, K stored ids.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from forgetless.curator.head import Head
from forgetless.train.example import IGNORED
from forgetless.train.objectives import kl_of_top_k

CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 512 << 20}
"""Of fp32 logits that exist at once; on a CPU few enough that they stay near its cache."""


def hidden_states(model: Any, input_ids: Tensor, position_ids: Tensor) -> Tensor:
    """[B, T, D] of the body of a causal language model of transformers; positions restart with every packed record."""
    hidden: Tensor = model.base_model(
        input_ids=input_ids, position_ids=position_ids, attention_mask=None, use_cache=False
    ).last_hidden_state
    return hidden


def token_nll(model: Any, input_ids: Tensor, position_ids: Tensor, shift_labels: Tensor) -> Tensor:
    """-log p of every supervised token, natural, fp32, in row order.

    Args:
        model: a causal language model of transformers; its body runs once, its head on supervised tokens.
        input_ids, position_ids: int64 [B, T].
        shift_labels: int64 [B, T], the next token's id, or IGNORED.

    Returns:
        float32 [N], N the number of labels that are not IGNORED; differentiable.
    """
    hidden_BTD = hidden_states(model, input_ids, position_ids)
    supervised = shift_labels != IGNORED
    return token_figures(Head(model), hidden_BTD[supervised], shift_labels[supervised]).nll


@dataclass(frozen=True)
class TokenFigures:
    """What the head says of supervised tokens; fp32 [N], nats."""

    nll: Tensor
    entropy: Tensor | None = None
    """Of the top k, made to sum to 1."""
    divergence: Tensor | None = None
    """KL(base ‖ model)."""


@dataclass(frozen=True)
class Base:
    """What is known of the base model's distributions: its stored top k, or its hidden states and its head."""

    topk_ids: Tensor | None = None
    """int64 [N, K], -1 where there is none"""
    topk_logprobs: Tensor | None = None
    """fp32 [N, K]"""
    hidden: Tensor | None = None
    """[N, D]"""
    head: Head | None = None


def token_figures(
    head: Head, hidden_ND: Tensor, target_N: Tensor, entropy_of: int = 0, base: Base | None = None
) -> TokenFigures:
    """nll, and where asked for the entropy of the `entropy_of` most probable ids and the divergence from the base.

    Logits of a chunk are made again in the backward pass instead of being kept for all of them.
    """
    base = base or Base()
    wanted = [hidden_ND, target_N, base.topk_ids, base.topk_logprobs, base.hidden]
    rows = rows_at_once(head, hidden_ND)
    chunks = (tuple(None if x is None else x[i : i + rows] for x in wanted) for i in _starts(target_N, rows))
    if not torch.is_grad_enabled():
        return _gathered(len(target_N), (_figures(head, base.head, entropy_of, *chunk) for chunk in chunks))
    if len(target_N) <= rows:
        return TokenFigures(*_figures(head, base.head, entropy_of, *next(chunks)))
    parts = [
        checkpoint(_figures, head, base.head, entropy_of, *chunk, use_reentrant=False) for chunk in chunks
    ]
    joined = [None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True)]
    return TokenFigures(*joined)


def _gathered(count: int, parts: Iterator[tuple[Tensor | None, ...]]) -> TokenFigures:
    """Parts one behind the other in tensors that are there first: small results that are kept between the logits of one
    chunk and the next would keep their memory from being used again."""
    whole: list[Tensor | None] = []
    start = 0
    for part in parts:
        whole = whole or [None if x is None else x.new_empty(count) for x in part]
        for into, values in zip(whole, part, strict=True):
            if into is not None and values is not None:
                into[start : start + len(values)] = values
        start += len(part[0]) if part[0] is not None else 0
    return TokenFigures(*whole)


def rows_at_once(head: Head, like: Tensor) -> int:
    """Tokens whose fp32 logits exist at once."""
    allowed = CHUNK_BYTES["cpu" if like.device.type == "cpu" else "cuda"]
    return max(1, allowed // (4 * head.linear.weight.shape[0]))


def _starts(target_N: Tensor, rows: int) -> Iterator[int]:
    return iter(range(0, max(1, len(target_N)), rows))  # one chunk of nothing where there is nothing


def _figures(
    head: Head,
    base_head: Head | None,
    entropy_of: int,
    hidden_ND: Tensor,
    target_N: Tensor,
    ids_NK: Tensor | None,
    base_NK: Tensor | None,
    base_hidden_ND: Tensor | None,
) -> tuple[Tensor | None, ...]:
    logits_NV = head(hidden_ND)
    nll_N = F.cross_entropy(logits_NV, target_N, reduction="none")
    entropy_N = divergence_N = None
    if entropy_of:
        top_NK = logits_NV.detach().topk(entropy_of, 1).values.log_softmax(1)
        entropy_N = -(top_NK.exp() * top_NK).sum(1)
    if base_head is not None and base_hidden_ND is not None:
        with torch.no_grad():
            base_NV = base_head(base_hidden_ND).log_softmax(1)
        divergence_N = F.kl_div(logits_NV.log_softmax(1), base_NV, reduction="none", log_target=True).sum(1)
    elif ids_NK is not None and base_NK is not None:
        divergence_N = stored_divergence(logits_NV, ids_NK, base_NK)
    return nll_N, entropy_N, divergence_N


def stored_divergence(logits_NV: Tensor, ids_NK: Tensor, base_NK: Tensor) -> Tensor:
    """[N]: KL(base ‖ model) over the base's top k and one bucket for the rest, at most that over the whole vocabulary;
    0 where nothing is stored, which ids of -1 [N, K] say."""
    known_N = ids_NK[:, 0] >= 0
    ids_NK, base_NK, base_rest_N = _stored(ids_NK, base_NK)
    whole_N = logits_NV.logsumexp(1)
    top_NK = logits_NV.gather(1, ids_NK) - whole_N[:, None]
    if ids_NK.shape[1] == logits_NV.shape[1]:  # there is no rest
        return kl_of_top_k(base_NK, base_rest_N, top_NK, base_rest_N).where(known_N, 0.0)
    # Not ln(1 - sum of the top k): of a tail of a thousandth that would keep three digits.
    rest_N = logits_NV.scatter(1, ids_NK, -torch.inf).logsumexp(1) - whole_N
    return kl_of_top_k(base_NK, base_rest_N, top_NK, rest_N).where(known_N, 0.0)


def _stored(ids_NK: Tensor, base_NK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids that exist, the base's log-probs of them, and [N] its log-prob of all others together."""
    base_NK = base_NK.where(ids_NK[:, :1] >= 0, 0.0)
    mass_N = base_NK.exp().sum(1)
    base_rest_N = torch.where(mass_N < 1, torch.log1p(-mass_N.clamp(max=1 - 1e-7)), -torch.inf)
    return ids_NK.clamp(min=0), base_NK, base_rest_N


class WeightedLoss(torch.autograd.Function):
    """Σ c · nll + k · KL(base ‖ model) with its gradients made in the same pass over the vocabulary, so that no logits
    are kept or made twice.

    For coefficients `c` and `k` that do not depend on the model. (hidden [N, D], head's weight [V, D], target int64 [N],
    c [N], rows, and for the KL, which is that of `stored_divergence`: k [N], the base's ids and log-probs [N, K]) →
    (scalar, nll [N]); nll carries no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, c_N: Tensor, rows: int, *kl: Tensor
    ) -> tuple[Tensor, Tensor]:
        kind = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight_VD.dtype
        with torch.autocast(kind, enabled=False):
            weight = weight_VD.to(dtype)
            grad_hidden = torch.empty_like(hidden_ND)
            grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
            nll_N = torch.empty_like(c_N, dtype=torch.promote_types(dtype, torch.float32))
            divergence = nll_N.new_zeros(())
            for start in _starts(target_N, rows):
                part = slice(start, start + rows)
                hidden, target_1, c = hidden_ND[part].to(dtype), target_N[part, None], c_N[part, None]
                logprobs = F.log_softmax(hidden @ weight.T, 1, dtype=nll_N.dtype)
                nll_N[part] = -logprobs.gather(1, target_1).squeeze(1)
                if kl:  # c goes into the slope, since the KL has another coefficient
                    slope, k_divergence = _slope_with_divergence(logprobs, c, *(x[part] for x in kl))
                    slope.scatter_add_(1, target_1, -c.to(slope.dtype))
                    divergence += k_divergence
                    c = torch.ones_like(c)
                else:
                    slope = logprobs.exp_().scatter_add_(1, target_1, logprobs.new_full(target_1.shape, -1))
                slope = slope.to(dtype)
                grad_hidden[part] = (slope @ weight) * c
                if grad_weight is not None:
                    weighted = hidden * c.to(dtype)
                    if dtype == grad_weight.dtype:
                        grad_weight.addmm_(slope.T, weighted)
                    else:
                        grad_weight += slope.T @ weighted
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(nll_N)
        return (nll_N * c_N).sum() + divergence, nll_N

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        slope = slopes[0]
        grads = grad_hidden * slope, None if grad_weight is None else grad_weight * slope
        return *grads, *[None] * (len(ctx.needs_input_grad) - 2)


def _slope_with_divergence(
    logprobs_NV: Tensor, c_N1: Tensor, k_N: Tensor, ids_NK: Tensor, base_NK: Tensor
) -> tuple[Tensor, Tensor]:
    """c·q + k·(q - p) [N, V], q the model's probabilities and p the base's, its rest spread as the model spreads its own:
    the gradient by the logits of c·logsumexp + k·KL; and Σ k·KL. The log-probs are overwritten."""
    ids_NK, base_NK, base_rest_N = _stored(ids_NK, base_NK)
    top_NK = logprobs_NV.gather(1, ids_NK)
    probs_NV = logprobs_NV.exp_().scatter_(1, ids_NK, 0.0)
    rest_N = probs_NV.sum(1).clamp(min=torch.finfo(probs_NV.dtype).tiny).log()
    k_N1 = k_N[:, None]
    probs_NV.mul_(c_N1 + k_N1 * (1 - (base_rest_N - rest_N).exp()[:, None]))
    probs_NV.scatter_(1, ids_NK, top_NK.exp() * (c_N1 + k_N1)).scatter_add_(1, ids_NK, -k_N1 * base_NK.exp())
    return probs_NV, (k_N * kl_of_top_k(base_NK, base_rest_N, top_NK, rest_N)).sum()
