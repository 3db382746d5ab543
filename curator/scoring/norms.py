"""Root-mean-square norms in one pass over a row, where torch makes seven of it; bfloat16 on a CPU."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    from forgetless.curator.scoring.fused import fused_norm
except ImportError:
    fused_norm = None

PROBE_ERROR = 2**-7
"""Relative: the last bit of a bfloat16, which the order of a sum may change."""


class FusedNorm(nn.Module):
    """x / √(mean x² + ε), rounded, times the weight (Zhang and Sennrich, 2019)."""

    def __init__(self, norm: nn.Module, epsilon: float) -> None:
        super().__init__()
        self.weight: Tensor = norm.weight
        self._norm, self._epsilon = norm, np.float32(epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        if x.dtype != torch.bfloat16:
            normed: Tensor = self._norm(x)
            return normed
        x_ND = x.reshape(-1, x.shape[-1])
        normed_ND = torch.empty_like(x_ND)
        bits = [t.detach().view(torch.uint16).numpy() for t in (x_ND, self.weight, normed_ND)]
        fused_norm(*bits, self._epsilon)
        return normed_ND.view(x.shape)


def fuse_norms(model: Any) -> None:
    """Replaces those norms of a model that a trial shows to be just this: others add one to the weight, or a bias."""
    if fused_norm is None:
        return
    layers = [(module, name, layer) for module in model.modules() for name, layer in module.named_children()]
    for module, name, layer in layers:
        epsilon = getattr(layer, "variance_epsilon", None) or getattr(layer, "eps", None)
        weight = getattr(layer, "weight", None)
        if type(layer).__name__.endswith("RMSNorm") and epsilon and weight is not None:
            fused = FusedNorm(layer, epsilon)
            if weight.dtype == torch.bfloat16 and _same(fused, layer):
                setattr(module, name, fused)


def _same(fused: FusedNorm, norm: nn.Module) -> bool:
    numbers = torch.Generator().manual_seed(0)
    probe_ND = torch.randn(5, len(fused.weight), generator=numbers).bfloat16()
    return torch.allclose(fused(probe_ND), norm(probe_ND), rtol=PROBE_ERROR)
