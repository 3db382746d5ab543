"""The optimiser loop: transformers.Trainer with our rows, our loss, and resume that is exact."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
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
from forgetless.schemas.training import Lora, Training
from forgetless.train.example import IGNORED, Example
from forgetless.train.loss import token_nll
from forgetless.train.packing import Schedule, collate


def fit(
    model: Any, examples: Sequence[Example], plan: Schedule, training: Training, folder: Path
) -> tuple[Any, list[dict[str, float]]]:
    """Train `model`, from the newest checkpoint in `folder` if there is one.

    Returns:
        The trained model, adapters merged, and one dict per optimiser step: step, loss (nats per unit of
        weight), learning_rate, grad_norm.

    Raises:
        UsageError: started as one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("training runs in one process", "start it without torchrun or `accelerate launch`")
    set_seed(training.seed)
    if training.lora:
        model = _with_adapters(model, training.lora)
    checkpoint = newest_checkpoint(folder)
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    with Progress("train", plan.steps, done) as progress:
        trainer = WeightedTrainer(
            model=model,
            args=_arguments(training, plan, folder),
            train_dataset=_Rows(examples, plan),
            data_collator=collate,
            callbacks=[_Report(progress)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    curve = [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return (trained.merge_and_unload() if training.lora else trained), curve


class WeightedTrainer(Trainer):
    """Weighted cross entropy, divided by the sum of weights of the whole optimiser step."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.loss_is_scaled_for_ga = True  # so that accumulation does not divide a second time

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        return torch.stack([batch["token_weights"].sum() for batch in batch_samples]).sum().to(device)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Σ weight · nll of this batch over Σ weight of the step. Tokens of weight 0 never reach the head."""
        weights = inputs["token_weights"]
        labels = inputs["shift_labels"].masked_fill(weights == 0, IGNORED)
        lm = self.accelerator.unwrap_model(model)
        lm = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
        # The body is called without the Trainer's wrapper, so autocast has to be entered here.
        with self.accelerator.autocast():
            nll_N = token_nll(lm, inputs["input_ids"], inputs["position_ids"], labels)
        total = weights.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        # A step in which every token is masked teaches nothing; 0 / 0 would destroy the weights.
        return (nll_N * weights[labels != IGNORED]).sum() / total.clamp(min=1e-6)


class _Rows(Dataset):
    """The schedule's rows in order, each as its list of examples."""

    def __init__(self, examples: Sequence[Example], plan: Schedule) -> None:
        self.examples, self.plan = examples, plan

    def __len__(self) -> int:
        return len(self.plan.rows)

    def __getitem__(self, index: int) -> list[Example]:
        return [self.examples[place] for place in self.plan.rows[index]]


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
            shutil.rmtree(checkpoint)
    return max(complete, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def _arguments(training: Training, plan: Schedule, folder: Path) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation,
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
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device; DataParallel would split packed rows
    return arguments


def _with_adapters(model: Any, lora: Lora) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
