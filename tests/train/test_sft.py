"""With all weights 1 our trainer is TRL's SFTTrainer, on the same packed batches."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from fit_side import gradients_of
from training_records import random_examples

from forgetless.curator.models import load_model, load_tokenizer
from forgetless.schemas.training import Training
from forgetless.train import trainer
from forgetless.train.packing import Schedule, schedule


@pytest.mark.parametrize("accumulation", [1, 2])
def test_loss_and_gradients_are_those_of_trl(tiny: Path, tmp_path: Path, accumulation: int) -> None:
    examples = random_examples(40, 262)
    plan = schedule([len(e) for e in examples], 64, 4 * accumulation, seed=0, steps=1)
    theirs = sft(tiny, tmp_path / "trl", [[examples[i] for i in row] for row in plan.rows], accumulation)
    ours: dict[str, torch.Tensor] = {}
    model = load_model(tiny, "float32")
    keeping = [gradients_of(model, ours)]
    training = Training(output=tmp_path / "ours", batch_size=4, accumulation=accumulation, max_length=64)
    _, curve = trainer.fit(
        model, examples, Schedule(plan.rows, 4 * accumulation), training, tmp_path / "ours", callbacks=keeping
    )
    loss, gradients = theirs
    assert curve[0]["loss"] == pytest.approx(loss, rel=1e-5)
    size = sum(float(g.square().sum()) for g in gradients.values()) ** 0.5
    apart = sum(float((gradients[name] - ours[name]).square().sum()) for name in gradients) ** 0.5
    assert gradients.keys() == ours.keys() and size > 0.1
    assert apart < 1e-5 * size


def sft(
    folder: Path, out: Path, rows: list[list[Any]], accumulation: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of TRL's first step over packed rows."""
    from trl import SFTConfig, SFTTrainer

    packed = [
        {
            "input_ids": [token for example in row for token in example.token_ids.tolist()],
            "labels": [label for example in row for label in example.labels.tolist()],
            "seq_lengths": [len(example) for example in row],
        }
        for row in rows
    ]
    settings = SFTConfig(
        output_dir=str(out), max_steps=1, per_device_train_batch_size=4, logging_steps=1, padding_free=True,
        gradient_accumulation_steps=accumulation, report_to="none", use_cpu=True, bf16=False, max_length=None,
        save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    model, gradients = load_model(folder, "float32"), dict[str, torch.Tensor]()
    theirs = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(packed),
        processing_class=load_tokenizer(folder),
        callbacks=[gradients_of(model, gradients)],
    )
    theirs._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(theirs.train_dataset)
    theirs.train()
    return next(entry["loss"] for entry in theirs.state.log_history if "loss" in entry), gradients
