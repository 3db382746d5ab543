"""`forgetless train`: read, measure, train, measure again, report."""

import importlib.util
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.curator.models import (
    load_model,
    load_tokenizer,
    model_fingerprint,
    resolve_model,
    tokenizer_fingerprint,
)
from forgetless.curator.progress import note
from forgetless.curator.store import Store
from forgetless.curator.store.runs import recorded_run
from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.errors import RecipeError, UsageError
from forgetless.schemas.model import Model
from forgetless.schemas.objectives import Kl
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.training import Training
from forgetless.train.asking import Asking
from forgetless.train.evals import Evals
from forgetless.train.evaluate import Measure, measures
from forgetless.train.output import Output
from forgetless.train.packing import Schedule, schedule
from forgetless.train.processes import is_main
from forgetless.train.reader import Base, TrainingData, read_training
from forgetless.train.report import (
    Averaged,
    Change,
    Figure,
    SourcePlan,
    TrainingPlan,
    TrainingReport,
    changes,
)


@dataclass(frozen=True)
class Prepared:
    """A run with everything read and nothing done."""

    store: Store
    folder: Path
    """The base model's."""
    model: Model
    training: Training
    asking: Asking
    data: TrainingData
    schedule: Schedule
    plan: TrainingPlan
    output: Output
    asked: dict[str, Any]
    """What decides the outcome: base model, snapshot, settings."""
    measures: list[Measure]
    """What is measured of the base model."""


def prepare(recipe: Recipe) -> Prepared:
    """Read what a run needs and plan it. Nothing is written.

    Raises:
        UsageError: a recipe without `train`, a store without a snapshot, an output folder of another run,
            or whatever the reader finds wrong.
    """
    training = recipe.train
    if training is None:
        raise RecipeError("the recipe has no `train`", "add `train:` with its `output`")
    _require("accelerate", *(["peft"] if training.lora else []))
    store = Store.open(recipe.store)
    folder = resolve_model(recipe.model)
    output = Output(training.output)
    asked = _asked(training, folder, store, output)
    output.check(asked)
    tokenizer = load_tokenizer(folder, recipe.model.chat_template, recipe.model.trust_remote_code)
    asking = Asking.of(folder, tokenizer, recipe.model.start_token)
    config = _config(folder, recipe.model)
    limit = getattr(config, "max_position_embeddings", None) or training.max_length
    vocabulary = tokenizer_fingerprint(tokenizer)
    base = Base(asked["model"], vocabulary, asking.end_ids, limit, config.vocab_size)
    data = read_training(store, training, asked["snapshot"], base)
    for task in training.tasks:
        verifier(task.verifier, recipe.allow_code_execution)
    wanted = measures(folder, asking, training.tasks, data.held_out)
    rows = schedule(
        [len(example) for example in data.examples],
        training.max_length,
        training.batch_size * training.accumulation,
        training.seed,
        training.packing,
        training.steps,
        training.epochs,
    )
    limits = _check_constraints(folder, recipe.model, training)
    plan = _plan(training, data, rows, limits)
    return Prepared(store, folder, recipe.model, training, asking, data, rows, plan, output, asked, wanted)


def assist(recipe: Recipe) -> None:
    """Take part in a training whose main process does what `train` does: the others measure and write nothing."""
    run = prepare(recipe)
    if run.output.report() is None:
        _fit(run)
    while run.output.report() is None:  # what comes next may begin with its checkpoint
        time.sleep(1)


def train(recipe: Recipe) -> TrainingReport:
    """Fine-tune as the recipe says, or go on where a run was interrupted; measure before and after."""
    run = prepare(recipe)
    report = run.output.report()
    if report is not None:
        note(f"{report.checkpoint!r} holds this run, done {report.created:%Y-%m-%d %H:%M} UTC: nothing to do")
        return report
    for warning in run.plan.warnings:
        note(f"warning: {warning}")
    digest = run.output.begin(run.asked)
    name = run.training.name or run.training.output.name
    evals = Evals(run.store, f"train-{digest[:16]}", name, digest, run.plan.snapshot, run.training.seed)
    with recorded_run(run.store, evals.run_id, "train", recipe, {}) as summary:
        measured, averages = _measured_training(run, evals)
        summary |= {"plan": run.plan.model_dump(), "changes": [c.model_dump() for c in measured]}
    folder = run.output.folder
    report = TrainingReport(
        name=name,
        run_id=evals.run_id,
        recipe=digest,
        base=run.asked["model"],
        model=model_fingerprint(folder),
        checkpoint=str(folder),
        store=str(run.store.path.resolve()),
        plan=run.plan,
        changes=measured,
        averages=averages,
    )
    run.output.finish(report)
    return report


def _measured_training(run: Prepared, evals: Evals) -> tuple[list[Change], list[Averaged]]:
    trust, folder = run.model.trust_remote_code, run.output.folder
    before = evals.figures("before", run.folder, run.asking, run.measures, trust)
    _fit(run, _watch(run, evals))
    averages = _averages(run, evals)
    wanted = measures(folder, run.asking, run.training.tasks, run.data.held_out)
    return changes(before, evals.figures("after", folder, run.asking, wanted, trust)), averages


def _averages(run: Prepared, evals: Evals) -> list[Averaged]:
    """The curve from base to tuned, if it is asked for; the checkpoint becomes the point to keep."""
    if run.training.average is None:
        return []
    from forgetless.train.averaging import averaged

    trust = run.model.trust_remote_code

    def measure(phase: str, folder: Path) -> list[Figure]:
        wanted = measures(folder, run.asking, run.training.tasks, run.data.held_out)
        return evals.figures(phase, folder, run.asking, wanted, trust)

    return averaged(run.folder, run.output.folder, run.training.average, measure, trust)


def _watch(run: Prepared, evals: Evals) -> list[Any]:
    """What measures while training, if it is asked for."""
    settings = run.training.watch
    if settings is None:
        return []
    from forgetless.train.watch import Watch, few

    tasks, held_out = few(run.training, settings).tasks, run.data.held_out[: settings.questions]
    wanted = measures(run.folder, run.asking, tasks, held_out)
    before = evals.figures("step 0", run.folder, run.asking, wanted, run.model.trust_remote_code)
    return [Watch(settings, evals, run.asking, wanted, before)]


def _fit(run: Prepared, callbacks: Sequence[Any] = ()) -> None:
    """Train in fp32 weights; save in the type that the base was saved in, as safetensors."""
    from transformers import GenerationConfig

    from forgetless.train.check import check_model
    from forgetless.train.failures import explained
    from forgetless.train.trainer import fit

    lm = load_model(run.folder, "float32", run.model.trust_remote_code)
    check_model(lm, run.training.packing)
    # transformers refuses to save what some models ship as generation settings: the file is copied instead.
    lm.generation_config = GenerationConfig()
    with explained(run.output.folder):
        lm, curve = fit(
            lm,
            run.data.examples,
            run.schedule,
            run.training,
            run.output.checkpoints,
            _reference(run),
            callbacks,
        )
        if not is_main():
            return
        lm.to(_saved_dtype(run.folder, run.model)).save_pretrained(run.output.folder)
        run.asking.tokenizer.save_pretrained(run.output.folder)
        if (run.folder / "generation_config.json").is_file():
            shutil.copy(run.folder / "generation_config.json", run.output.folder)
        run.output.curve(curve)


def _reference(run: Prepared) -> Any | None:
    """The base model, where an objective asks for it live; its weights in the type they were saved in."""
    if not any(isinstance(objective, Kl) and objective.live for objective in run.training.objectives):
        return None
    return load_model(run.folder, "auto", run.model.trust_remote_code).requires_grad_(False)


def _saved_dtype(folder: Path, model: Model) -> Any:
    """The torch dtype that a checkpoint's config names; float32 where it names none."""
    import torch

    dtype = _config(folder, model).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _config(folder: Path, model: Model) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    return config.get_text_config()


def _require(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"training needs {' and '.join(missing)}", "pip install 'forgetless[train]'")


def _asked(training: Training, folder: Path, store: Store, output: Output) -> dict[str, Any]:
    """What decides the outcome. A run that has begun keeps its snapshot, however the store has grown."""
    begun = output.asked() or {}
    snapshot = training.snapshot or begun.get("snapshot") or store.newest_snapshot()
    if snapshot is None:
        raise UsageError(f"store {str(store.path)!r} has no snapshot", "run `forgetless build` to its end")
    settings = training.model_dump(mode="json", exclude={"output", "name", "snapshot"})
    return {"model": model_fingerprint(folder), "snapshot": snapshot, "train": settings}


def _check_constraints(folder: Path, model: Model, training: Training) -> list[str]:
    if not (training.lora or training.freeze or training.dropout):
        return []
    from forgetless.train.constraints import check_constraints

    return check_constraints(folder, training, model.trust_remote_code)


def _plan(training: Training, data: TrainingData, rows: Schedule, limits: list[str]) -> TrainingPlan:
    target_tokens = sum(example.target_tokens for example in data.targets)
    replay = []
    for number, source in enumerate(training.replay, 1):
        chosen = [example for example in data.replay if example.source == number]
        tokens = sum(example.target_tokens for example in chosen)
        by_tokens = source.unit == "tokens"
        share = tokens / target_tokens if by_tokens else len(chosen) / len(data.targets)
        replay.append(
            SourcePlan(name=source.name, records=len(chosen), tokens=tokens, share=share, unit=source.unit)
        )
    return TrainingPlan(
        snapshot=data.snapshot,
        targets=len(data.targets),
        replay=replay,
        held_out=len(data.held_out),
        tokens=sum(len(example) for example in data.examples),
        target_tokens=target_tokens + sum(source.tokens for source in replay),
        masked_tokens=data.masked,
        masked_share=data.masked / data.in_play if data.in_play else 0.0,
        mean_weight=_mean_weight(data),
        rows=len(rows.rows),
        steps=rows.steps,
        warnings=[*data.warnings, *limits],
    )


def _mean_weight(data: TrainingData) -> float:
    """Of the targets' tokens, as far as the store alone decides over them."""
    return sum(float(e.weights.sum()) for e in data.targets) / sum(e.target_tokens for e in data.targets)
