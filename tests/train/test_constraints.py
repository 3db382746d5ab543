"""Adapters by name, frozen weights, dropout: what changes, what stays, and that a training goes on exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from test_run import kill_in_training
from training_records import random_examples
from transformers import GPT2Config, GPT2LMHeadModel, TrainerCallback

from forgetless.curator.models import load_model, model_fingerprint
from forgetless.curator.store import Store
from forgetless.schemas.constraints import Freeze, Lora
from forgetless.schemas.errors import UsageError
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.training import Training
from forgetless.train.adapters import with_adapters
from forgetless.train.example import Example
from forgetless.train.freeze import freeze, set_dropout
from forgetless.train.packing import Schedule, schedule
from forgetless.train.run import prepare, train
from forgetless.train.trainer import fit

State = dict[str, torch.Tensor]
INITS = ["default", "gaussian", "orthogonal", "pissa", "olora", "corda", "mica", "osf"]


class StopAt(TrainerCallback):
    """As an interruption would, after a step that was saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            control.should_training_stop = True


class Optimised(TrainerCallback):
    """Keeps what the optimiser has state of."""

    def on_train_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self.shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
        self.gradients = sum(p.requires_grad for group in optimizer.param_groups for p in group["params"])


def examples_with_replay() -> list[Example]:
    from dataclasses import replace

    return [replace(e, source=i % 2) for i, e in enumerate(random_examples(24, 262))]


def settings(output: Path, **others: object) -> Training:
    return Training.model_validate(
        {
            "output": output,
            "learning_rate": 1e-2,
            "max_length": 64,
            "batch_size": 4,
            "save_every": 2,
            **others,
        }
    )


def plan(examples: list[Example], steps: int) -> Schedule:
    return schedule([len(e) for e in examples], 64, 4, 0, steps=steps)


def fitted(
    tiny: Path, training: Training, steps: int = 6, *callbacks: TrainerCallback
) -> tuple[State, list[Any]]:
    examples = examples_with_replay()
    lm = load_model(tiny, "float32")
    model, curve = fit(lm, examples, plan(examples, steps), training, training.output, callbacks=callbacks)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}, curve


def logits(lm: Any) -> torch.Tensor:
    ids = torch.arange(40)[None] * 7 % 262
    with torch.no_grad():
        out: torch.Tensor = lm.eval()(input_ids=ids, use_cache=False).logits
    return out


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("extra", [{}, {"dora": True}, {"rslora": True}], ids=["plain", "dora", "rslora"])
def test_adapters_begin_as_the_base_and_merge_to_what_they_were(
    tiny: Path, init: str, extra: dict[str, bool]
) -> None:
    if extra and init in ("mica", "osf") and not (init == "mica" and "rslora" in extra):
        with pytest.raises(ValidationError, match="method of its own"):
            Lora.model_validate({"init": init, **extra})
        return
    torch.manual_seed(0)
    base = logits(load_model(tiny, "float32"))
    lora = Lora.model_validate({"rank": 4, "alpha": 8, "init": init, **extra})
    model = with_adapters(load_model(tiny, "float32"), lora, None, examples_with_replay())
    torch.testing.assert_close(logits(model), base, rtol=0, atol=2e-5)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 40_000
    for parameter in trained:
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    moved = logits(model)
    assert (moved - base).abs().max() > 1e-3
    merged = model.merge_and_unload()
    assert merged.state_dict().keys() == load_model(tiny, "float32").state_dict().keys()
    torch.testing.assert_close(logits(merged), moved, rtol=0, atol=2e-5)


@pytest.mark.parametrize("init", INITS)
def test_a_training_with_adapters_goes_on_exactly(tiny: Path, tmp_path: Path, init: str) -> None:
    lora = {"rank": 4, "alpha": 8, "init": init, "dropout": 0 if init == "osf" else 0.1}
    whole, curve = fitted(tiny, settings(tmp_path / "whole", lora=lora))
    again = settings(tmp_path / "stopped", lora=lora)
    fitted(tiny, again, 6, StopAt(4))
    torch.manual_seed(99)
    resumed, resumed_curve = fitted(tiny, again)
    assert resumed_curve == curve
    assert len(changed(tiny, whole, 1e-2)) == 14
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_killed_run_goes_on_exactly_though_its_base_was_changed(
    make_store: Callable[[], Store], tiny: Path, tmp_path: Path
) -> None:
    """PiSSA moves part of the base's weights into adapters, and only the adapters are in a checkpoint."""
    store = make_store()

    def recipe(output: str) -> Recipe:
        lora = {"rank": 4, "init": "pissa", "dropout": 0.2}
        training = {"steps": 60, "held_out": None, "lora": lora, "save_every": 5}
        training |= {"output": tmp_path / output, "max_length": 64, "batch_size": 4, "learning_rate": 3e-3}
        return Recipe.model_validate({"store": store.path, "model": {"path": str(tiny)}, "train": training})

    train(recipe("whole"))
    kill_in_training(recipe("killed"), tmp_path / "killed")
    train(recipe("killed"))
    steps = [(tmp_path / name / "steps.jsonl").read_text() for name in ("whole", "killed")]
    assert steps[0] == steps[1]
    assert model_fingerprint(tmp_path / "killed") == model_fingerprint(tmp_path / "whole")


def test_osf_holds_all_but_the_smallest_directions(tiny: Path, tmp_path: Path) -> None:
    """A layer's weights are what is held and a product of rank 4, instead of the base's own: they differ by rank 8."""
    state, _ = fitted(tiny, settings(tmp_path, lora={"rank": 4, "init": "osf"}), 6)
    base = load_model(tiny, "float32").state_dict()
    for name in changed(tiny, state):
        sizes = torch.linalg.svdvals(state[name] - base[name])
        assert sizes[8] < sizes[3] / 100


def test_adapters_stand_where_they_are_wanted(tiny: Path, tmp_path: Path) -> None:
    lora = {"rank": 4, "targets": ["q_proj", "up_proj"], "dora": True}
    state, _ = fitted(tiny, settings(tmp_path, lora=lora, freeze={"bottom_layers": 1}), 3)
    assert changed(tiny, state) == {
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    }


def changed(tiny: Path, state: State, by: float = 0.0) -> set[str]:
    """Names of the weights that differ from the base's by a norm of more than so much."""
    before = load_model(tiny, "float32").state_dict()
    return {name for name in before if (before[name] - state[name]).norm() > by}


def test_what_is_frozen_stays_and_has_no_optimiser_state(tiny: Path, tmp_path: Path) -> None:
    kept = Optimised()
    frozen = {"embeddings": True, "bottom_layers": 1}
    state, _ = fitted(tiny, settings(tmp_path, freeze=frozen, weight_decay=0.1), 3, kept)
    names = changed(tiny, state)
    assert names
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in names)
    trained = [
        p
        for name, p in load_model(tiny, "float32").named_parameters()
        if name.startswith(("model.layers.1.", "model.norm."))
    ]
    assert sorted(kept.shapes) == sorted(tuple(p.shape) for p in trained)
    assert kept.gradients == len(kept.shapes)


def test_a_frozen_training_goes_on_exactly(tiny: Path, tmp_path: Path) -> None:
    others: dict[str, object] = {"freeze": {"bottom_layers": 1}, "dropout": 0.2}
    whole, curve = fitted(tiny, settings(tmp_path / "whole", **others))
    again = settings(tmp_path / "stopped", **others)
    fitted(tiny, again, 6, StopAt(4))
    resumed, resumed_curve = fitted(tiny, again)
    assert resumed_curve == curve
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_freezing_more_than_there_is_is_refused(tiny_model: Any) -> None:
    with pytest.raises(UsageError, match="is 3, and the model has 2"):
        freeze(tiny_model, Freeze(bottom_layers=3))


def test_dropout_is_set_in_training_and_leaves_the_checkpoint_alone(tiny: Path, tmp_path: Path) -> None:
    _, plain = fitted(tiny, settings(tmp_path / "plain"), 2)
    examples = examples_with_replay()
    training = settings(tmp_path / "dropped", dropout=0.3)
    model, dropped = fit(load_model(tiny, "float32"), examples, plan(examples, 2), training, training.output)
    assert plain[0]["loss"] != dropped[0]["loss"]
    assert plain[0]["loss"] == pytest.approx(dropped[0]["loss"], rel=0.1)
    assert model.config.attention_dropout == 0


def test_dropout_finds_every_place() -> None:
    lm = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50))
    assert set_dropout(lm, 0.25) == ["attn_dropout", "drop", "dropout", "resid_dropout"]
    assert {m.p for m in lm.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    with pytest.raises(UsageError, match="no dropout to set"):
        set_dropout(torch.nn.Linear(2, 2), 0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lora": {"init": "magic"}}, "'pissa'"),
        ({"lora": {"init": "orthogonal", "rank": 3}}, "even `rank`"),
        ({"lora": {"init": "osf", "dropout": 0.1}}, "has no `dropout`"),
        ({"lora": {"init": "corda"}, "replay": None}, "there is no replay"),
        ({"lora": {}, "anchor": {"kind": "l2", "strength": 1}}, "choose one"),
        ({"anchor": {"kind": "ewc", "strength": 1}, "replay": None}, "needs `replay`"),
        ({"average": {}}, "name a number"),
    ],
)
def test_what_cannot_be_is_refused_by_the_recipe(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Training.model_validate({"output": "x", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"freeze": {"bottom_layers": 3}}, "the model has 2"),
        ({"lora": {"targets": ["query"]}}, "'query'.*its layers are down_proj"),
        ({"lora": {"init": "pissa", "rank": 64}}, "set a smaller rank"),
        ({"lora": {}, "freeze": {"bottom_layers": 2}}, "no layer that could have an adapter"),
    ],
)
def test_what_the_model_does_not_have_is_found_before_anything_is_done(
    make_store: Callable[[], Store], tiny: Path, tmp_path: Path, given: dict[str, object], message: str
) -> None:
    store = make_store()
    training = {"output": tmp_path / "out", "max_length": 64, **given}
    with pytest.raises(UsageError, match=message):
        prepare(Recipe.model_validate({"store": store.path, "model": {"path": str(tiny)}, "train": training}))
    assert not (tmp_path / "out").exists()


def test_the_plan_says_what_is_frozen_and_dropped(
    make_store: Callable[[], Store], tiny: Path, tmp_path: Path
) -> None:
    training = {"output": tmp_path / "out", "freeze": {"embeddings": True}, "dropout": 0.1, "max_length": 64}
    recipe = {"store": make_store().path, "model": {"path": str(tiny)}, "train": training}
    warnings = prepare(Recipe.model_validate(recipe)).plan.warnings
    assert "dropout 0.1 in attention_dropout: the places this model has" in warnings
    assert "the head shares the embeddings' weights: it is frozen with them" in warnings
