"""Low-rank adapters on a model, and where they begin."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from forgetless.curator.progress import Progress
from forgetless.schemas.constraints import Freeze, Lora
from forgetless.schemas.errors import UsageError
from forgetless.train.example import Example
from forgetless.train.freeze import frozen_modules
from forgetless.train.processes import is_main, own_device

CORDA_RECORDS = 256
"""Replay records for CorDA's covariances; its authors take as many."""


def with_adapters(model: Any, lora: Lora, freeze: Freeze | None, replay: Sequence[Example]) -> Any:
    """The model with adapters, everything else frozen.

    Some initialisations take from the base's weights what they put into the adapters: together they are the base still,
    and merged they are a plain model. All follow from the base, the replay and torch's random state alone, so that a
    training that goes on finds the same weights below its adapters.

    Args:
        replay: records for an initialisation that looks at data.

    Raises:
        UsageError: names that no linear layer has, no layer left, or a rank that is too large.
    """
    from peft import LoraConfig, OSFConfig, get_peft_model
    from peft.tuners.lora.config import CordaConfig

    targets = target_layers(model, lora, freeze)
    if lora.init == "osf":
        # What PEFT calls rank is what is held: of each layer all but ours.
        held = {f"^{name}$": min(m.weight.shape) - lora.rank for name, m in targets.items()}
        return get_peft_model(model, OSFConfig(target_modules=list(targets), rank_pattern=held))
    config = LoraConfig(
        corda_config=CordaConfig(corda_method="kpm") if lora.init == "corda" else None,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(targets),
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        init_lora_weights=True if lora.init == "default" else lora.init,
        task_type="CAUSAL_LM",
    )
    if lora.init == "corda":
        _look_at(model, config, replay)
    return get_peft_model(model, config)


def target_layers(model: Any, lora: Lora, freeze: Freeze | None = None) -> dict[str, nn.Module]:
    """The layers that get an adapter, by name; none that is frozen."""
    frozen = {m for module in frozen_modules(model, freeze or Freeze()) for m in module.modules()}
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not model.get_output_embeddings()
    }
    if lora.targets != "all-linear":
        known = sorted({name.rpartition(".")[2] for name in linear})
        unknown = sorted(set(lora.targets) - set(known))
        if unknown:
            raise UsageError(
                f"`train.lora.targets` names {unknown[0]!r}, which no linear layer of the model is called",
                f"its layers are {', '.join(known)}",
            )
        linear = {name: m for name, m in linear.items() if name.rpartition(".")[2] in lora.targets}
    targets = {name: module for name, module in linear.items() if module not in frozen}
    if not targets:
        raise UsageError("`train.freeze` leaves no layer that could have an adapter", "freeze fewer layers")
    smallest = min(min(module.weight.shape) for module in targets.values())
    if lora.init not in ("default", "gaussian", "orthogonal") and lora.rank >= smallest:
        raise UsageError(
            f"`train.lora.rank` is {lora.rank}, and a layer has {smallest} singular directions",
            f"`init: {lora.init}` takes some of them: set a smaller rank",
        )
    return targets


def _look_at(model: Any, config: Any, replay: Sequence[Example]) -> None:
    """CorDA's covariances of what goes into each layer, and what follows from them, left on the layers for PEFT."""
    from peft.tuners.lora.corda import preprocess_corda

    records = replay[:CORDA_RECORDS]
    if not records:
        raise UsageError("no replay record for `train.lora.init: corda` to look at", "correct `train.replay`")
    model.to(own_device())

    def run() -> None:
        shown = Progress("covariances", len(records)) if is_main() else nullcontext()
        with shown as progress, torch.no_grad():
            for (
                record
            ) in records:  # one at a time: PEFT takes a batch of more for one sequence with another axis
                model(input_ids=torch.from_numpy(record.token_ids).to(model.device)[None], use_cache=False)
                if progress:
                    progress.advance(1)

    preprocess_corda(model, config, run_model=run)
