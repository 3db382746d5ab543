"""One of several processes that fit the same tiny model together: started by torch.distributed.run."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import DistributedType, PartialState
from training_records import weighted_examples
from transformers import TrainerCallback

from forgetless.curator.models import load_model
from forgetless.schemas.training import Training
from forgetless.train import trainer
from forgetless.train.packing import schedule
from forgetless.train.processes import leave


def gradients_of(model: torch.nn.Module, kept: dict[str, torch.Tensor]) -> TrainerCallback:
    """Keeps the first step's gradients."""

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
            if not kept:
                for name, p in model.named_parameters():
                    grad = p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
                    kept[name] = grad.detach().clone()

    return Keep()


def shard_on_cpu() -> None:
    """accelerate shards on every kind of accelerator and not on a CPU, where it can all the same."""
    ours = trainer.training_arguments

    def on_something_else(*given: Any) -> Any:
        arguments = ours(*given)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        return arguments

    trainer.training_arguments = on_something_else
    trainer.check_sharding = lambda training: None


def fit_once(folder: Path, out: Path, settings: dict[str, object]) -> None:
    """Fits for some steps and saves weights and first gradients; from the first process."""
    dtype = str(settings.pop("weights"))
    empty = int(str(settings.pop("empty", 0)))
    if settings.get("sharded"):
        shard_on_cpu()
    training = Training.model_validate({"output": out.with_suffix(""), "max_length": 64, **settings})
    examples = weighted_examples()
    for i in range(empty):
        examples[i] = examples[i].weighted(0)
    rows = training.batch_size * training.accumulation
    plan = schedule([len(e) for e in examples], 64, rows, 0, packing=training.packing, steps=training.steps)
    model = load_model(folder, "float32").to(getattr(torch, dtype))
    kept: dict[str, torch.Tensor] = {}
    kept_by = [gradients_of(model, kept)]
    trained, curve = trainer.fit(model, examples, plan, training, training.output, callbacks=kept_by)
    state = {name: value.detach().clone() for name, value in trained.state_dict().items()}
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save({"weights": state, "gradients": kept, "curve": curve}, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit_once(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    leave()
