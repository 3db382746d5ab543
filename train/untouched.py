"""Measuring a model in the middle of its training, without a trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def untouched(lm: Any) -> Iterator[Any]:
    """The causal language model in `lm`, ready to be measured; afterwards all is as it was.

    In eval mode, without gradients, with neutral generation settings and its own forward pass: trainers put another
    one (a loss, autocast) over it. Kept are the mode of every module, that forward pass, the generation settings, and
    the random states of torch, numpy and Python.
    """
    import torch
    from transformers import GenerationConfig

    model = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    modes = [(module, module.training) for module in lm.modules()]
    settings, wrapped = model.generation_config, vars(model).pop("forward", None)
    states = random.getstate(), np.random.get_state()
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            lm.eval()
            model.generation_config = GenerationConfig()
            yield model
        finally:
            for module, training in modes:
                module.training = training
            model.generation_config = settings
            if wrapped is not None:
                model.forward = wrapped
            random.setstate(states[0])
            np.random.set_state(states[1])
