"""Whether a model can be constrained as a recipe says: found before anything expensive happens."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forgetless.schemas.training import Training
from forgetless.train.adapters import target_layers
from forgetless.train.freeze import freeze, head_is_frozen, set_dropout


def check_constraints(folder: Path, training: Training, trust_remote_code: bool) -> list[str]:
    """Tries them on a model without weights; what is not as one might think, in words.

    Raises:
        UsageError: a layer or a place for dropout that the model does not have.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    said = []
    if training.dropout:
        places = ", ".join(set_dropout(lm, training.dropout))
        said.append(f"dropout {training.dropout:g} in {places}: the places this model has")
    if training.lora:
        target_layers(lm, training.lora, training.freeze)
    elif training.freeze:
        freeze(lm, training.freeze)
    if training.freeze and not training.lora and head_is_frozen(lm, training.freeze):
        said.append("the head shares the embeddings' weights: it is frozen with them")
    return said
