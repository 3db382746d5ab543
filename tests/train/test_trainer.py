"""The optimiser loop on a tiny model: one update whatever the batches, adapters, bf16."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fit_side import fit_once
from training_records import random_examples, weighted_examples

from forgetless.curator.models import load_model
from forgetless.schemas.training import Training
from forgetless.train.example import Example
from forgetless.train.packing import Schedule, schedule
from forgetless.train.trainer import fit


def settings(output: Path, **others: object) -> Training:
    return Training.model_validate(
        {"output": output, "learning_rate": 1e-2, "max_length": 64, "schedule": "constant", **others}
    )


def fitted(tiny: Path, training: Training, plan: Schedule) -> tuple[Any, list[dict[str, float]]]:
    return fit(load_model(tiny, "float32"), weighted_examples(), plan, training, training.output)


def plan_for(training: Training, steps: int) -> Schedule:
    lengths = [len(example) for example in weighted_examples()]
    return schedule(lengths, 64, training.batch_size * training.accumulation, 0, steps=steps)


ALONE = [(8, 1, 1), (4, 2, 1), (1, 8, 1)]
"""Rows in a batch, batches in a step, processes that share the batches."""
DIVISIONS = {
    "packed": (True, 0, [*ALONE, (4, 2, 2)]),
    "packed, some batches empty": (True, 12, [*ALONE, (1, 8, 2)]),
    "sharded": (True, 0, [(8, 1, 1), (4, 2, -2)]),
    "a record to a row": (False, 0, ALONE),
    "a record to a row, some batches empty": (False, 12, [*ALONE, (1, 8, 2)]),
}
"""Packing, records of weight 0, which make batches without a token among them, and ways to divide a step;
-2 processes: with the model divided among two."""


@pytest.mark.parametrize("division", DIVISIONS)
def test_one_update_is_the_same_however_it_is_divided(tiny: Path, tmp_path: Path, division: str) -> None:
    """The gradients in fp32, the update in float64."""
    packing, empty, splits = DIVISIONS[division]
    before = load_model(tiny, "float32").double().state_dict()
    for weights, of in (("float32", "gradients"), ("float64", "weights")):
        settings = {"weights": weights, "packing": packing, "empty": empty}
        folders = [tmp_path / f"{weights}-{number}" for number in range(len(splits))]
        first, *others = [
            fitted_by(tiny, folder, split, **settings) for folder, split in zip(folders, splits, strict=True)
        ]
        size = sum(float(g.square().sum()) for g in first["gradients"].values()) ** 0.5
        assert apart(first["weights"], before) > 1e-2
        for other in others:
            assert other["curve"][0]["loss"] == pytest.approx(first["curve"][0]["loss"], rel=1e-6)
            assert other["curve"][0]["mean_weight"] == pytest.approx(first["curve"][0]["mean_weight"])
            assert apart(first[of], other[of]) < (1e-6 * size if of == "gradients" else 1e-10)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Norm of the difference."""
    assert one.keys() <= other.keys()
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def fitted_by(tiny: Path, out: Path, split: tuple[int, int, int], **settings: object) -> dict[str, Any]:
    """Weights, first gradients and curve of a training by so many processes."""
    batch_size, accumulation, processes = split
    settings |= {"sharded": processes < 0}
    settings |= {"batch_size": batch_size, "accumulation": accumulation, "steps": 1, "learning_rate": 0.01}
    if processes == 1:
        fit_once(tiny, out.with_suffix(".pt"), settings)
    else:
        tests = Path(__file__).parent
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            str(abs(processes)),
            "--standalone",
        ]
        command += [str(tests / "fit_side.py"), str(tiny), str(out.with_suffix(".pt")), json.dumps(settings)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tests.parent)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    outcome: dict[str, Any] = torch.load(out.with_suffix(".pt"))
    return outcome


def difference_of_updates(
    tiny: Path, first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]
) -> float:
    """Norm of the difference, relative to the first update's norm.

    Not the largest element: Adam divides every gradient by its own size, so that the rounding of those
    near zero shows.
    """
    before = load_model(tiny, "float32").state_dict()
    update = sum(float((first[name] - before[name]).square().sum()) for name in before)
    between = sum(float((first[name] - second[name]).square().sum()) for name in before)
    assert update > 0
    return (between / update) ** 0.5


def test_the_loss_of_a_step_is_the_weighted_mean_over_all_its_tokens(tiny: Path, tmp_path: Path) -> None:
    training = settings(tmp_path, batch_size=2, accumulation=4)
    plan = plan_for(training, 1)
    _, curve = fitted(tiny, training, plan)
    model, examples = load_model(tiny, "float32").double(), weighted_examples()
    total = weight = 0.0
    for example in (examples[i] for row in plan.rows for i in row):
        ids = torch.from_numpy(example.token_ids)
        logprobs = model(input_ids=ids[None], use_cache=False).logits[0].log_softmax(-1)
        nll = -logprobs[torch.arange(len(ids) - 1), ids[1:]].detach().numpy()
        total += float((nll * example.weights[1:]).sum())
        weight += float(example.weights.sum())
    assert curve[0]["loss"] == pytest.approx(total / weight, rel=1e-5)


def test_tokens_of_weight_zero_teach_nothing(tiny: Path, tmp_path: Path) -> None:
    example = random_examples(1, 262)[0]
    half = len(example) // 2
    masked = example.weighted(np.arange(len(example)) < half)
    short = Example.of("short", "replay", example.token_ids[:half].tolist(), [(1, half)])
    results = []
    for one in (masked, short):
        training = settings(tmp_path / one.id, batch_size=1)
        model, _ = fit(load_model(tiny, "float32"), [one], Schedule([[0]], 1), training, training.output)
        results.append(model.state_dict())
    assert difference_of_updates(tiny, *results) < 1e-4


def test_a_step_with_everything_masked_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    example = random_examples(1, 262)[0]
    nothing = example.weighted(0)
    training = settings(tmp_path, batch_size=1)
    model, curve = fit(load_model(tiny, "float32"), [nothing], Schedule([[0]], 1), training, tmp_path)
    assert curve[0]["loss"] == 0
    before = load_model(tiny, "float32").state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_adapters_train_and_are_merged(tiny: Path, tmp_path: Path) -> None:
    training = settings(tmp_path, lora={"rank": 4, "alpha": 8}, batch_size=4)
    model, curve = fitted(tiny, training, plan_for(training, 20))
    before = load_model(tiny, "float32").state_dict()
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {name for name in before if "proj" in name}
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.1


def test_bfloat16_really_computes_in_bfloat16(tiny: Path, tmp_path: Path) -> None:
    seen = set()
    model = load_model(tiny, "float32")
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    model.lm_head.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    training = settings(tmp_path, dtype="bfloat16", batch_size=4)
    trained, _ = fit(model, weighted_examples(), plan_for(training, 1), training, tmp_path)
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in trained.state_dict().values()} == {torch.float32}


def test_short_rows_in_bfloat16_learn_the_same(tiny: Path, tmp_path: Path) -> None:
    """With another attention than fp32's, in which packed records do not see one another either."""
    losses = []
    for dtype in ("float32", "bfloat16"):
        training = settings(tmp_path / dtype, dtype=dtype, batch_size=4)
        _, curve = fitted(tiny, training, plan_for(training, 4))
        losses.append([step["loss"] for step in curve])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
