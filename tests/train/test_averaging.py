"""Averages with the base: the weights, the curve, and which of them is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from forgetless.curator.models import load_model, model_fingerprint, weight_files
from forgetless.curator.store import Store
from forgetless.schemas.constraints import Average
from forgetless.schemas.recipe import Recipe
from forgetless.train.averaging import averaged, best, write_average
from forgetless.train.report import Averaged, Figure, average_table
from forgetless.train.run import train


def moved(tiny: Path, folder: Path, dtype: str = "bfloat16", shard: str = "50GB") -> Path:
    """The tiny model, changed at random."""
    lm = load_model(tiny, "float32")
    torch.manual_seed(1)
    for parameter in lm.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    lm.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in weight_files(folder) for name, value in load_file(file).items()}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_average_is_taken_in_fp32_and_saved_like_the_tuned(tiny: Path, tmp_path: Path, dtype: str) -> None:
    tuned = moved(tiny, tmp_path / "tuned", dtype, shard="100KB")
    assert len(weight_files(tuned)) > 1
    base, ends = weights(tiny), weights(tuned)
    for alpha in (0, 0.3, 1):
        write_average(tiny, tuned, alpha, tmp_path / f"{alpha}")
        found = weights(tmp_path / f"{alpha}")
        for name, end in ends.items():
            mean = (1 - alpha) * base[name].float() + alpha * end.float()
            assert torch.equal(found[name], mean.to(end.dtype))
        load_model(tmp_path / f"{alpha}")
    assert all(torch.equal(value, ends[name]) for name, value in found.items())


def figure(task: str, role: str, value: float) -> Figure:
    return Figure(task=task, role=role, metric="accuracy", value=value, count=1, key="k")


def test_the_best_is_that_of_the_highest_mean_of_target_and_retained() -> None:
    def point(alpha: float, target: float, *retained: float) -> Averaged:
        figures = [figure(str(i), "retained", value) for i, value in enumerate(retained)]
        return Averaged(alpha=alpha, figures=[figure("t", "target", target), *figures])

    assert best([point(0, 0, 1, 1), point(0.5, 0.8, 0.9, 0.7), point(1, 1, 0, 0)]) == 0.5
    assert best([point(0, 0, 1, 1), point(1, 1, 0, 0)]) == 1
    assert best([point(0, 0, 1, 1), point(1, 0.9, 0, 0)]) == 0


def test_the_one_to_keep_becomes_the_checkpoint(tiny: Path, tmp_path: Path) -> None:
    tuned = moved(tiny, tmp_path / "tuned", "float32")
    ends, asked = weights(tuned), []

    def measure(phase: str, folder: Path) -> list[Figure]:
        asked.append((phase, model_fingerprint(folder)))
        return [figure("t", "target", 0.5)]

    curve = averaged(tiny, tuned, Average(alphas=[1, 0], keep=0.4), measure)
    assert [(point.alpha, point.kept) for point in curve] == [(0, False), (0.4, True), (1, False)]
    assert [phase for phase, _ in asked] == ["average 0", "average 0.4", "average 1"]
    assert model_fingerprint(tuned) == asked[1][1]
    base, found = weights(tiny), weights(tuned)
    for name, value in found.items():
        assert torch.equal(value, (1 - 0.4) * base[name] + 0.4 * ends[name])
    assert not (tuned / "averages").exists()


def test_a_base_with_older_names_is_no_obstacle(tmp_path: Path) -> None:
    """As many on the hub have, such as GPT-2's without `transformer.`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    lm = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50))
    lm.save_pretrained(tmp_path / "tuned")
    lm.save_pretrained(tmp_path / "base")
    stored = load_file(tmp_path / "base" / "model.safetensors")
    bare = {name.removeprefix("transformer."): 0 * value for name, value in stored.items()}
    save_file(bare, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    averaged(
        tmp_path / "base",
        tmp_path / "tuned",
        Average(alphas=[0.5], keep=0.5),
        lambda *_: [figure("t", "target", 0)],
    )
    for name, value in load_file(tmp_path / "tuned" / "model.safetensors").items():
        assert torch.equal(value, stored[name] / 2)


@pytest.mark.parametrize("lora", [None, {"rank": 4, "init": "pissa"}], ids=["full", "lora"])
def test_a_run_reports_the_curve(
    make_store: Callable[[], Store], tiny: Path, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    store = make_store()
    (tmp_path / "q.jsonl").write_text(
        json.dumps({"prompt": "what is 1 and 1?", "reference": "it is 2"}) + "\n"
    )
    recipe = Recipe.model_validate(
        {
            "store": store.path,
            "model": {"path": str(tiny)},
            "train": {
                "output": tmp_path / "out",
                "learning_rate": 3e-3,
                "max_length": 64,
                "steps": 3,
                "lora": lora,
                "average": {"alphas": [0, 0.5, 1], "keep": 0.5},
                "tasks": [{"name": "q", "path": tmp_path / "q.jsonl", "role": "target", "max_tokens": 8}],
            },
        }
    )
    report = train(recipe)
    assert [point.alpha for point in report.averages if point.kept] == [0.5]
    text = [next(f.value for f in p.figures if f.metric == "cross_entropy") for p in report.averages]
    change = next(c for c in report.changes if c.metric == "cross_entropy")
    assert (change.before, change.after) == (text[0], text[1])
    assert text[0] > text[1] > text[2]
    phases = store.query("SELECT DISTINCT phase FROM evals ORDER BY 1").column("phase").to_pylist()
    assert phases == ["after", "average 0", "average 0.5", "average 1", "before"]
    assert not (tmp_path / "out" / "averages").exists()
    console = Console(width=100, record=True)
    console.print(average_table(report))
    assert "0.5, kept" in console.export_text()
    assert train(recipe) == report
