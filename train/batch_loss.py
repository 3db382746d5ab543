"""The loss of a batch under the recipe's objectives: what the trainer's model computes in its forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from forgetless.curator.head import Head
from forgetless.schemas.objectives import Dft, Eaft, Kl, Objective, Psft, Rho1, Talr
from forgetless.train.example import IGNORED
from forgetless.train.loss import (
    Base,
    WeightedLoss,
    hidden_states,
    rows_at_once,
    token_figures,
)
from forgetless.train.objectives import Tokens, concerned, current_weight, loss_per_token

CURRENT = (Dft, Eaft, Kl, Psft, Rho1, Talr)
"""Objectives that the current model decides over."""
STATS = {"base_logprob": Psft, "reference_logprob": Rho1, "topk_ids": Kl, "topk_logprobs": Kl}
"""What a batch must bring of the store's statistics, by the objective that reads it."""


class BatchLoss:
    """Σ over a batch's tokens of what `objectives` make of each; not yet divided.

    Args:
        objectives: the recipe's.
        sources: targets and replay, in the order of the examples' `source`.
        reference: the base model, for a live KL.
    """

    def __init__(self, objectives: Sequence[Objective], sources: int, reference: Any | None = None) -> None:
        self._objectives = [o for o in objectives if isinstance(o, CURRENT)]
        self._kl = next((o for o in self._objectives if isinstance(o, Kl)), None)
        self._entropy_of = max((o.top_k for o in self._objectives if isinstance(o, Eaft)), default=0)
        # Coefficients known before the model runs.
        self._one_pass = all(isinstance(o, Kl) and not o.live for o in self._objectives)
        self._sources = sources
        self._reference = reference

    @property
    def stats(self) -> list[str]:
        """Names of the stored statistics that a batch must bring."""
        kinds = {type(o) for o in self._objectives if not (isinstance(o, Kl) and o.live)}
        return [name for name, kind in STATS.items() if kind in kinds]

    def __call__(self, lm: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The sum, and [sources, 3] of each source's tokens: Σ weight, Σ nll, number of those that reached the head."""
        weights_BT, sources_BT = inputs["token_weights"], inputs["sources"]
        supervised = self._supervised(inputs["shift_labels"], weights_BT, sources_BT)
        hidden_BTD = hidden_states(lm, inputs["input_ids"], inputs["position_ids"])
        hidden_ND, target_N = hidden_BTD[supervised], inputs["shift_labels"][supervised]
        weights_N, sources_N = weights_BT[supervised], sources_BT[supervised]
        head = Head(lm)
        base = self._base(inputs, supervised)
        if self._one_pass and head.plain and torch.is_grad_enabled():
            kl = self._stored_kl(sources_N, base)
            total, nll_N = WeightedLoss.apply(
                hidden_ND, head.linear.weight, target_N, weights_N, rows_at_once(head, hidden_ND), *kl
            )
            return total, self._by_source(sources_N, weights_N, nll_N)
        figures = token_figures(head, hidden_ND, target_N, self._entropy_of, base)
        stored = {name: inputs[name][supervised] for name in self.stats if name.endswith("_logprob")}
        tokens = Tokens(figures.nll, sources_N == 0, figures.entropy, divergence=figures.divergence, **stored)
        total = loss_per_token(self._objectives, weights_N, tokens).sum()
        current_N = torch.where(tokens.is_target, current_weight(self._objectives, tokens), 1.0)
        return total, self._by_source(sources_N, weights_N * current_N, figures.nll.detach())

    def _supervised(self, labels_BT: Tensor, weights_BT: Tensor, sources_BT: Tensor) -> Tensor:
        """bool [B, T]: tokens that the head is needed for. Those of weight 0 never reach it, unless a KL is theirs."""
        counts_BT = weights_BT != 0
        if self._kl:
            counts_BT = counts_BT | concerned(self._kl, sources_BT == 0)
        return (labels_BT != IGNORED) & counts_BT

    def _base(self, inputs: dict[str, Tensor], supervised: Tensor) -> Base | None:
        if self._kl is None:
            return None
        if not self._kl.live:
            return Base(inputs["topk_ids"][supervised], inputs["topk_logprobs"][supervised])
        assert self._reference is not None
        with torch.no_grad():
            hidden_BTD = hidden_states(self._reference, inputs["input_ids"], inputs["position_ids"])
        return Base(hidden=hidden_BTD[supervised], head=Head(self._reference))

    def _stored_kl(self, sources_N: Tensor, base: Base | None) -> tuple[Tensor, ...]:
        """Coefficient of each token's KL, ids, log-probs; nothing without a KL."""
        if self._kl is None or base is None or base.topk_ids is None or base.topk_logprobs is None:
            return ()
        k_N = self._kl.beta * (concerned(self._kl, sources_N == 0) & (base.topk_ids[:, 0] >= 0))
        return k_N, base.topk_ids, base.topk_logprobs

    def _by_source(self, sources_N: Tensor, weights_N: Tensor, nll_N: Tensor) -> Tensor:
        columns = torch.stack([weights_N, nll_N, torch.ones_like(nll_N)], 1)
        return columns.new_zeros(self._sources, 3).index_add_(0, sources_N, columns)
