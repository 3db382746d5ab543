"""From hidden states to logits: the head of a causal language model, apart from its body."""

from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Hidden states [N, D] → fp32 logits [N, V], so that they can be made for a few positions at a time.

    Some families do more than multiply: Gemma caps (`final_logit_softcapping`), Cohere multiplies
    (`logit_scale`), Granite divides (`logits_scaling`).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config.get_text_config()
        self.linear = model.get_output_embeddings()
        times, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
        self.scale = float(times or 1) / float(divisor or 1)
        self.softcap = getattr(config, "final_logit_softcapping", None)

    @property
    def plain(self) -> bool:
        """Whether the linear layer's output needs nothing but fp32."""
        return self.scale == 1 and not self.softcap

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """fp32 [N, V]"""
        return self.finish(self.linear(hidden_ND))

    def finish(self, logits_NV: Tensor) -> Tensor:
        """What the linear layer gives, as fp32 logits; fp32 ones may be changed in place, and float64 stay so."""
        logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
        if self.scale != 1:
            logits_NV = logits_NV * self.scale
        if self.softcap:
            logits_NV = torch.tanh(logits_NV / self.softcap) * self.softcap
        return logits_NV
