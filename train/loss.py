"""Weighted cross entropy from hidden states, without logits of a whole batch ever existing."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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
    head = _Head(model)
    if not torch.is_grad_enabled() or len(target_N) <= CHUNK:
        chunks = [head(*pair) for pair in zip(hidden_ND.split(CHUNK), target_N.split(CHUNK), strict=True)]
    else:
        # Logits of one chunk are made again in the backward pass instead of being kept for all of them.
        # F.linear_cross_entropy chunks too, but knows only weights per class, not per token.
        chunks = [
            checkpoint(head, *pair, use_reentrant=False)
            for pair in zip(hidden_ND.split(CHUNK), target_N.split(CHUNK), strict=True)
        ]
    return torch.cat(chunks)


class _Head(nn.Module):
    """Hidden states → −log p of targets, with the scalings that some families put on their logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config.get_text_config()
        self.linear = model.get_output_embeddings()
        self.scale = float(getattr(config, "logit_scale", None) or 1) / float(
            getattr(config, "logits_scaling", None) or 1
        )
        self.softcap = getattr(config, "final_logit_softcapping", None)

    def forward(self, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
        logits_NV = self.linear(hidden_ND).float() * self.scale
        if self.softcap:
            logits_NV = torch.tanh(logits_NV / self.softcap) * self.softcap
        return F.cross_entropy(logits_NV, target_N, reduction="none")
