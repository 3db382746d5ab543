"""Does this model compute what our loss assumes? Asked once, before any time is spent."""

from typing import Any

import numpy as np
import torch

from forgetless.schemas.errors import ModelError
from forgetless.train.example import Example
from forgetless.train.loss import token_nll
from forgetless.train.packing import collate

TOLERANCE = 1e-2
"""Nats; rounding stays below a thousandth in fp32, another computation does not."""


def check_model(lm: Any, packing: bool) -> None:
    """Compare our loss on two packed records with the model's own logits on each.

    Raises:
        ModelError: the model treats its logits in a way `loss.py` does not know, or lets packed records
            see each other.
    """
    vocabulary = lm.get_output_embeddings().weight.shape[0]
    ids = [(np.arange(start, start + 8) * 7919 % vocabulary).tolist() for start in (1, 11)]
    records = [Example.of("", "", tokens, [(0, 8)]) for tokens in ids]
    with torch.no_grad():
        own = torch.cat([_own_nll(lm, record) for record in records])
        separate = _our_nll(lm, [[record] for record in records])
        packed = _our_nll(lm, [records]) if packing else separate
    if (separate - own).abs().max() > TOLERANCE:
        raise ModelError(f"{type(lm).__name__} rescales its logits in a way the loss does not know")
    if (packed - own).abs().max() > TOLERANCE:
        raise ModelError(
            f"{type(lm).__name__} lets packed records see each other", "set `train.packing: false`"
        )


def _own_nll(lm: Any, record: Example) -> torch.Tensor:
    ids = torch.from_numpy(record.token_ids).to(lm.device)
    logits_TV = lm(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits_TV, ids[1:], reduction="none")


def _our_nll(lm: Any, rows: list[list[Example]]) -> torch.Tensor:
    fields = collate(rows)
    names = ("input_ids", "position_ids", "shift_labels")
    return token_nll(lm, **{name: fields[name].to(lm.device) for name in names})
