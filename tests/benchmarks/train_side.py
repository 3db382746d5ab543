"""One side of `forgetless bench train`, in a process of its own: the same model, the same rows, the same order.

What libraries print goes to stderr.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from forgetless.benchmarks.sides import peak_bytes
from forgetless.schemas.objectives import Kl
from forgetless.schemas.training import Training
from forgetless.train.example import IGNORED, Example
from forgetless.train.packing import Schedule
from forgetless.train.trainer import WeightedTrainer, training_arguments

VOCABULARY, LENGTH, PROMPT, TOP_K = 24_576, 512, 102, 20
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": LENGTH,
    "tie_word_embeddings": True,
}  # fmt: skip
"""20M parameters, of which 9.4M are the embeddings, which are the head too."""


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Also waits for the device."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())


def random_model() -> LlamaForCausalLM:
    """The same for every side."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def random_rows(count: int) -> list[np.ndarray]:
    """Token ids, [LENGTH] each."""
    return list(np.random.default_rng(0).integers(3, VOCABULARY, (count, LENGTH)))


def train_ours(
    rows: list[np.ndarray], batch_size: int, dtype: str, out: Path, kl: Kl | None = None
) -> tuple[Clock, list[Any]]:
    """Our trainer; with a KL, to the model as it was."""
    rng = np.random.default_rng(1)
    examples = []
    for number, ids in enumerate(rows):
        example = Example.of(str(number), "ground_truth", ids.tolist(), [(PROMPT, LENGTH)])
        logprobs = np.log(rng.dirichlet(np.ones(TOP_K + 1), LENGTH)[:, :TOP_K]).astype(np.float32)
        top_ids = rng.integers(3, VOCABULARY, (LENGTH, TOP_K))
        examples.append(replace(example, stats={"topk_ids": top_ids, "topk_logprobs": logprobs}))
    steps = len(rows) // batch_size
    training = Training.model_validate(
        {"output": out, "batch_size": batch_size, "steps": steps, "max_length": LENGTH, "dtype": dtype}
        | {"save_every": steps + 1, "objectives": [kl] if kl else []}
    )
    plan = Schedule([[number] for number in range(len(rows))], batch_size)
    reference = random_model().requires_grad_(False) if kl and kl.live else None
    clock, arguments = Clock(), training_arguments(training, plan, out)
    trainer = WeightedTrainer(training, examples, plan, reference, model=random_model(), args=arguments)
    trainer.add_callback(clock)
    trainer.train()
    return clock, trainer.state.log_history


def train_trl(rows: list[np.ndarray], batch_size: int, dtype: str, out: Path) -> tuple[Clock, list[Any]]:
    """TRL's SFTTrainer on rows that are tokenised and labelled already."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    labels = [np.where(np.arange(LENGTH) < PROMPT, IGNORED, ids).tolist() for ids in rows]
    data = Dataset.from_dict({"input_ids": [ids.tolist() for ids in rows], "labels": labels})
    words = Tokenizer(models.BPE(vocab={"<pad>": 0, "</s>": 1}, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    settings = SFTConfig(
        output_dir=str(out), max_steps=len(rows) // batch_size, per_device_train_batch_size=batch_size, logging_steps=1,
        report_to="none", use_cpu=not torch.cuda.is_available(), bf16=dtype == "bfloat16", save_strategy="no",
        disable_tqdm=True, max_length=LENGTH, gradient_checkpointing=False, learning_rate=1e-5,
    )  # fmt: skip
    clock = Clock()
    trainer = SFTTrainer(
        model=random_model(), args=settings, train_dataset=data, processing_class=tokenizer, callbacks=[clock]
    )
    trainer.train()
    return clock, trainer.state.log_history


def main() -> None:
    """side, steps, dtype, rows to a step, file for the outcome"""
    side, steps, dtype, batch, out = sys.argv[1:]
    batch_size = int(batch)
    rows = random_rows(batch_size * (int(steps) + 1))
    with tempfile.TemporaryDirectory(prefix="forgetless-bench-") as work:
        if side == "trl":
            clock, log = train_trl(rows, batch_size, dtype, Path(work))
        else:
            kl = {"ours": None, "kl": Kl(), "live-kl": Kl(live=True)}[side]
            clock, log = train_ours(rows, batch_size, dtype, Path(work), kl)
    seconds, cpu_seconds = (statistics.median(np.diff(ends)) for ends in (clock.ends, clock.cpu_ends))
    outcome = {
        "tokens_per_second": batch_size * LENGTH / seconds, "seconds": seconds, "cpu_seconds": cpu_seconds,
        "peak_bytes": peak_bytes(),
        "first_loss": next(entry["loss"] for entry in log if "loss" in entry),
    }  # fmt: skip
    Path(out).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
