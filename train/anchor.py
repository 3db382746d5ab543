"""A penalty on the way from the weights that training starts from: L2, or weighted by Fisher information (EWC)."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from forgetless.curator.progress import Progress
from forgetless.schemas.constraints import Ewc
from forgetless.schemas.errors import UsageError
from forgetless.schemas.training import Training
from forgetless.train.example import Example
from forgetless.train.loss import token_nll
from forgetless.train.packing import collate
from forgetless.train.processes import is_main, own_device

FISHER = Path("anchor") / "fisher.safetensors"
"""In the output folder; below it, as every safetensors file beside a config counts as weights."""


class Anchor:
    """strength / 2 · Σ F (θ − θ₀)² over the trained parameters, F = 1 without a Fisher.

    Args:
        model: at θ₀, of which a copy is kept in the CPU's memory.
        fisher: F by parameter name.
    """

    def __init__(self, model: Any, strength: float, fisher: dict[str, Tensor] | None = None) -> None:
        self.strength = strength
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._weights = [
            (p, p.detach().to("cpu", copy=True), fisher[name] if fisher else None) for name, p in trained
        ]

    @torch.no_grad()
    def pull(self) -> float:
        """Adds the penalty's gradient, strength · F (θ − θ₀), to the parameters'; its value.

        Once per optimiser step, when the gradients are those of the whole step: the penalty then counts once, however
        the step is divided into batches and processes.
        """
        total = 0.0
        for parameter, start, fisher in self._weights:
            way = parameter - start.to(parameter)
            slope = self.strength * way if fisher is None else self.strength * fisher.to(parameter) * way
            total += float((slope * way).sum(dtype=torch.float64)) / 2
            parameter.grad = slope if parameter.grad is None else parameter.grad.add_(slope)
        return total


def anchor_of(model: Any, training: Training, replay: Sequence[Example]) -> Anchor | None:
    """The anchor that a recipe asks for, at the weights that `model` has now.

    Raises:
        UsageError: a file that is no Fisher of this model's, or no replay to compute one from.
    """
    settings = training.anchor
    if settings is None:
        return None
    if not isinstance(settings, Ewc):
        return Anchor(model, settings.strength)
    file = settings.fisher or training.output / FISHER
    if settings.fisher is None:
        _store_fisher(file, model, replay[: settings.records])
    return Anchor(model, settings.strength, read_fisher(file, model))


def _store_fisher(file: Path, model: Any, records: Sequence[Example]) -> None:
    """Computes it unless it is there already. Other processes wait for the main one: theirs would differ by rounding,
    and their weights with it."""
    if not records:
        raise UsageError(
            "no replay record to compute a Fisher from", "correct `train.replay`, or name a file"
        )
    while not is_main() and not file.is_file():
        time.sleep(1)
    if not file.is_file():
        fisher = diagonal_fisher(model.to(own_device()), records)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        save_file(fisher, new)
        new.replace(file)


def diagonal_fisher(model: Any, examples: Sequence[Example]) -> dict[str, Tensor]:
    """F_i = mean over records x of (∂ ln p(x) / ∂θ_i)², ln p(x) summed over a record's target tokens, in nats.

    The empirical diagonal Fisher of Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks",
    equation 3. Over texts that the model itself has sampled, as self-replay is, it estimates the true one.

    Args:
        model: a causal language model of transformers; of its parameters those that are trained count.

    Returns:
        By parameter name, on the CPU, in the parameter's dtype.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    training, device = model.training, next(iter(parameters.values())).device
    model.eval()
    with Progress("fisher", len(examples)) as progress:
        for example in examples:
            fields = collate([[example]])
            inputs = [fields[name].to(device) for name in ("input_ids", "position_ids", "shift_labels")]
            nll = token_nll(model, *inputs).sum()
            slopes = torch.autograd.grad(nll, list(parameters.values()), allow_unused=True)
            for total, slope in zip(sums.values(), slopes, strict=True):
                if slope is not None:
                    total += slope.square()
            progress.advance(1)
    model.train(training)
    return {name: (total / len(examples)).cpu() for name, total in sums.items()}


def read_fisher(file: Path, model: Any) -> dict[str, Tensor]:
    """A stored Fisher; UsageError where it is none of this model's trained parameters."""
    try:
        fisher = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"Fisher {str(file)!r} cannot be read: {error}", "correct `train.anchor.fisher`"
        ) from None
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (name not in fisher or fisher[name].shape != parameter.shape):
            raise UsageError(
                f"Fisher {str(file)!r} has no {name!r} of shape {tuple(parameter.shape)}",
                "name that of the same model, or omit `train.anchor.fisher` to have it computed",
            )
    return fisher
