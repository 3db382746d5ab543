"""The optimiser loop: transformers.Trainer with our rows, our loss, and resume that is exact."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from forgetless.curator.progress import Progress
from forgetless.schemas.errors import UsageError
from forgetless.schemas.training import Training
from forgetless.train.adapters import with_adapters
from forgetless.train.anchor import Anchor, anchor_of
from forgetless.train.batch_loss import BatchLoss
from forgetless.train.example import IGNORED, Example
from forgetless.train.freeze import freeze, set_dropout
from forgetless.train.packing import Schedule, collate
from forgetless.train.processes import is_main

WAIT_SECONDS = 24 * 3600
"""For another process: the main one measures the base model before it joins the training."""

SHORT_ROW = 256
"""Tokens in a row up to which plain attention in bf16 beats torch's fused kernel on a CPU, here by 1.2 to 1.7 in the
whole step."""


def fit(
    model: Any,
    examples: Sequence[Example],
    plan: Schedule,
    training: Training,
    folder: Path,
    reference: Any | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Any, list[dict[str, float]]]:
    """Train `model`, from the newest checkpoint in `folder` if there is one.

    Args:
        reference: the base model on the same device, where an objective asks for it live.
        callbacks: what else is told of each step.

    Returns:
        The trained model, adapters merged, and one dict per optimiser step: step, loss (nats per unit of what
        `training.normalise` names), learning_rate, grad_norm, mean_weight (of supervised tokens), nll/SOURCE (nats per
        token that was learned from), and with an anchor the penalty, which is not in the loss.
    """
    check_sharding(training)
    set_seed(training.seed)
    if model.device.type == "cpu" and training.dtype == "bfloat16" and training.max_length <= SHORT_ROW:
        model.set_attn_implementation("eager")
    model, anchor = _constrained(model, training, [e for e in examples if e.source])
    checkpoint = newest_checkpoint(folder)
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    arguments = training_arguments(training, plan, folder)
    with Progress("train", plan.steps, done) if is_main() else nullcontext() as progress:
        trainer = WeightedTrainer(training, examples, plan, reference, anchor, model=model, args=arguments)
        for callback in [*callbacks, *([_Report(progress)] if progress else [])]:
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    curve = [
        {"step": entry["step"]} | {key: entry[key] for key in sorted(entry) if key not in ("step", "epoch")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    del trained.forward  # its own again
    if training.sharded:
        trained = _whole(trained, trainer.accelerator.get_state_dict(trainer.model))
    return (trained.merge_and_unload() if training.lora else trained), curve


class WeightedTrainer(Trainer):
    """The Trainer with our rows, the loss of the recipe's objectives, and the division of it that is right for every
    number of batches, accumulated batches and processes."""

    def __init__(
        self,
        training: Training,
        examples: Sequence[Example],
        plan: Schedule,
        reference: Any | None = None,
        anchor: Anchor | None = None,
        **arguments: Any,
    ) -> None:
        self._sources = ["targets", *(source.name for source in training.replay)]
        self._loss = BatchLoss(training.objectives, len(self._sources), reference)
        self._by_weight = training.normalise == "weights"
        self._anchor, self._penalty = anchor, 0.0
        self._seen = torch.zeros(len(self._sources), 3)
        self._supervised = 0.0
        # What runs under the Trainer's wrappers (autocast, DDP, FSDP) is the model's forward pass: it is our loss.
        model, loss = arguments["model"], self._loss
        model.forward = MethodType(lambda model, **inputs: loss(_unadapted(model), inputs), model)
        collator = partial(collate, stats=loss.stats)
        super().__init__(train_dataset=_Rows(examples, plan), data_collator=collator, **arguments)
        if anchor and self.is_fsdp_enabled:
            raise UsageError("`train.anchor` cannot hold weights that FSDP has cut up", "train without FSDP")
        self.loss_is_scaled_for_ga = True  # so that accumulation does not divide a second time

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """What this step's loss is divided by, over all batches of all processes."""
        weights = torch.stack(
            [batch["token_weights"].sum(dtype=torch.float64) for batch in batch_samples]
        ).sum()
        tokens = torch.stack([(batch["shift_labels"] != IGNORED).sum() for batch in batch_samples]).sum()
        both = self.accelerator.gather(torch.stack([weights, tokens])[None].to(device)).sum(0)
        self._supervised += float(both[1])
        # A step in which every token is masked teaches nothing; 0 / 0 would destroy the weights.
        return both[0] if self._by_weight and both[0] > 0 else both[1].clamp(min=1)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """This batch's part of the step's loss."""
        loss, seen = model(**inputs)
        self._seen = self._seen.to(seen.device) + seen
        # Gradients are averaged over processes, and a sum is wanted.
        scaled: Tensor = loss / torch.as_tensor(num_items_in_batch).to(loss) * self.accelerator.num_processes
        return scaled

    def _clip_grad_norm(self, model: Any) -> Any:
        """The anchor pulls on the whole step's gradients, and before they are clipped, as any other part of the loss."""
        if self._anchor:
            self._penalty = self._anchor.pull()
        return super()._clip_grad_norm(model)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what the step learned from, by source."""
        if "loss" in logs:
            seen = self.accelerator.reduce(self._seen).tolist()
            logs["mean_weight"] = sum(weight for weight, _, _ in seen) / max(1.0, self._supervised)
            for name, (_, nll, count) in zip(self._sources, seen, strict=True):
                if count:
                    logs[f"nll/{name}"] = nll / count
            self._seen, self._supervised = torch.zeros_like(self._seen), 0.0
            if self._anchor:
                logs["penalty"] = self._penalty
        super().log(logs, start_time)


def _constrained(model: Any, training: Training, replay: Sequence[Example]) -> tuple[Any, Anchor | None]:
    """The model with what holds it near the base; called with the base's weights, also when a training goes on."""
    if training.dropout:
        set_dropout(model, training.dropout)
    if training.lora:
        return with_adapters(model, training.lora, training.freeze, replay), None
    if training.freeze:
        freeze(model, training.freeze)
    return model, anchor_of(model, training, replay)


def check_sharding(training: Training) -> None:
    """UsageError where `sharded` cannot be."""
    if training.sharded and not torch.cuda.is_available():
        raise UsageError(
            "`train.sharded` divides a model over GPUs, and there is none",
            "leave it out: each process has a copy",
        )
    if training.sharded and training.lora:
        raise UsageError(
            "adapters are not divided over processes", "leave `train.sharded` out: they are small"
        )


def _whole(sharded: Any, weights: dict[str, Tensor]) -> Any:
    """A plain model of all processes' weights; those are there in the main process alone."""
    if not is_main():
        return sharded
    whole = type(sharded)(sharded.config)
    whole.load_state_dict(weights, assign=True)
    whole.tie_weights()
    return whole.eval()


def _unadapted(model: Any) -> Any:
    """The causal language model itself; adapters are inside its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Rows(Dataset):
    """The schedule's rows in order, each as its list of examples; a short last step is filled up with empty rows."""

    def __init__(self, examples: Sequence[Example], plan: Schedule) -> None:
        self.examples, self.plan = examples, plan

    def __len__(self) -> int:
        return self.plan.steps * self.plan.rows_per_step

    def __getitem__(self, index: int) -> list[Example]:
        return [self.examples[place] for row in self.plan.rows[index : index + 1] for place in row]


class _Report(TrainerCallback):
    """Steps and losses to our own progress line."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self.progress.advance(1, f"loss {logs['loss']:.3f}")


def newest_checkpoint(folder: Path) -> Path | None:
    """The last complete checkpoint; ones that a kill cut short are removed."""
    complete = []
    for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        try:  # the Trainer writes its state last
            json.loads((checkpoint / "trainer_state.json").read_text())
            complete.append(checkpoint)
        except (OSError, json.JSONDecodeError):
            if is_main():
                shutil.rmtree(checkpoint)
    return max(complete, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def training_arguments(training: Training, plan: Schedule, folder: Path) -> TrainingArguments:
    """The Trainer's own settings for a recipe's.

    Raises:
        UsageError: a step's batches cannot be shared by this number of processes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if training.accumulation % processes:
        raise UsageError(
            f"`accumulation` {training.accumulation} cannot be shared by {processes} processes",
            f"set `train.accumulation` to a multiple of {processes}: the batches of a step are divided among them",
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation // processes,
        num_train_epochs=1,  # the schedule holds all passes
        learning_rate=training.learning_rate,
        lr_scheduler_type="constant_with_warmup" if training.schedule == "constant" else training.schedule,
        warmup_steps=int(training.warmup_share * plan.steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=training.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        seed=training.seed,
        save_strategy="steps",
        save_steps=training.save_every or max(1, plan.steps // 10),
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
        ddp_timeout=WAIT_SECONDS,
        fsdp=training.sharded or None,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device; DataParallel would split packed rows
    return arguments
