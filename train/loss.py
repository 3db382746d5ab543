"""Weighted cross entropy from hidden states, without logits of a whole batch ever existing."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from forgetless.curator.head import Head
from forgetless.train.example import IGNORED

CHUNK = 1024
"""Supervised tokens whose logits exist at once."""


def token_nll(model: Any, input_ids: Tensor, position_ids: Tensor, shift_labels: Tensor) -> Tensor:
    """−log p of every supervised token, natural, fp32, in row order.

    Args:
        model: a causal language model of transformers; its body runs once, its head on supervised tokens.
        input_ids, position_ids: int64 [B, T], positions restarting with every packed record.
        shift_labels: int64 [B, T], the next token's id, or IGNORED.

    Returns:
        float32 [N], N the number of labels that are not IGNORED; differentiable.
    """
    hidden_BTD = model.base_model(
        input_ids=input_ids, position_ids=position_ids, attention_mask=None, use_cache=False
    ).last_hidden_state
    supervised = shift_labels != IGNORED
    hidden_ND, target_N = hidden_BTD[supervised], shift_labels[supervised]
    head = Head(model)
    chunks = zip(hidden_ND.split(CHUNK), target_N.split(CHUNK), strict=True)
    if not torch.is_grad_enabled() or len(target_N) <= CHUNK:
        return torch.cat([_nll(head, *chunk) for chunk in chunks])
    # Logits of one chunk are made again in the backward pass instead of being kept for all of them.
    # F.linear_cross_entropy chunks too, but knows only weights per class, not per token.
    return torch.cat([checkpoint(_nll, head, *chunk, use_reentrant=False) for chunk in chunks])


def _nll(head: Head, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden_ND), target_N, reduction="none")
