"""Our rows in TRL's trainer: the same loss as in ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset

from forgetless.curator.models import load_model, load_tokenizer
from forgetless.curator.store import Store
from forgetless.schemas.training import Training
from forgetless.train.export import export
from forgetless.train.packing import schedule
from forgetless.train.reader import read_examples
from forgetless.train.trainer import fit


def test_trl_computes_our_loss_on_exported_rows(
    make_store: Callable[[], Store], tiny: Path, tmp_path: Path
) -> None:
    from trl import SFTConfig, SFTTrainer

    store = make_store()
    export(store, tmp_path / "rows", "trl", "id < 'g08'")
    rows = load_dataset(str(tmp_path / "rows"), split="train", cache_dir=str(tmp_path / "cache"))
    settings = SFTConfig(
        output_dir=str(tmp_path / "trl"), max_steps=1, per_device_train_batch_size=8, logging_steps=1,
        report_to="none", use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=load_model(tiny, "float32"),
        args=settings,
        train_dataset=rows,
        processing_class=load_tokenizer(tiny),
    )
    trainer.train()
    theirs = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)

    examples = read_examples(store, "SELECT id FROM records WHERE id < 'g08'", 1)
    training = Training(output=tmp_path / "ours", batch_size=8, steps=1)
    plan = schedule([len(e) for e in examples], 64, 8, seed=0, packing=False, steps=1)
    _, curve = fit(load_model(tiny, "float32"), examples, plan, training, training.output)
    assert len(examples) == len(rows) == 8
    assert curve[0]["loss"] == pytest.approx(theirs, rel=1e-4)
