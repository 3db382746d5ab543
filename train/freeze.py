"""What of a model is held still, and what is dropped at random."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from forgetless.schemas.constraints import Freeze
from forgetless.schemas.errors import UsageError

DROPOUTS = ("attention_dropout", "hidden_dropout", "activation_dropout", "dropout")
"""Rates that layers of transformers keep as plain numbers; all others are `nn.Dropout` modules."""


def freeze(model: Any, settings: Freeze) -> None:
    """Parameters that get neither gradients nor optimiser state.

    Raises:
        UsageError: more layers than the model has, or nothing left to train.
    """
    for module in frozen_modules(model, settings):
        module.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("`train.freeze` leaves nothing to train", "freeze fewer layers")


def frozen_modules(model: Any, settings: Freeze) -> Iterator[nn.Module]:
    """The embeddings, of positions as well, and the first layers."""
    if settings.embeddings:
        yield from (module for module in model.modules() if isinstance(module, nn.Embedding))
    layers = _layers(model)
    if settings.bottom_layers > len(layers):
        raise UsageError(
            f"`train.freeze.bottom_layers` is {settings.bottom_layers}, and the model has {len(layers)}",
            f"set it to {len(layers)} at most",
        )
    yield from layers[: settings.bottom_layers]


def head_is_frozen(model: Any, settings: Freeze) -> bool:
    """Whether the head stays, too, because its weights are the embeddings'."""
    head = model.get_output_embeddings()
    return settings.embeddings and head.weight is model.get_input_embeddings().weight


def set_dropout(model: Any, rate: float) -> list[str]:
    """Sets every rate of dropout in the layers; the config, and with it the checkpoint, keeps the base's.

    Returns:
        The names of what was set, sorted.

    Raises:
        UsageError: the model has no place for it.
    """
    places = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
            places.add(name.rpartition(".")[2])
        for attribute in DROPOUTS:
            if isinstance(vars(module).get(attribute), (int, float)):
                setattr(module, attribute, rate)
                places.add(attribute)
    if not places:
        raise UsageError(
            f"{type(model).__name__} has no dropout to set",
            "omit `train.dropout`, or use `train.lora.dropout`",
        )
    return sorted(places)


def _layers(model: Any) -> nn.ModuleList:
    count = model.config.get_text_config().num_hidden_layers
    lists = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    return next(lists)
