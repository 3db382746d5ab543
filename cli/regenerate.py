"""Training on answers that the model being trained writes anew before every epoch."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from forgetless.curator.progress import note
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import Stored
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.steps import Score

if TYPE_CHECKING:
    from forgetless.train.report import TrainingReport


def regenerated_training(recipe: Recipe) -> "Iterator[TrainingReport]":
    """One report per epoch. Each epoch first builds the steps under `train.regenerate` with the checkpoint of
    the one before, whose fingerprint the rows carry, then trains on these rows and on no earlier ones of theirs.

    Builds and runs that are done already are found again, so that an interrupted command goes on.
    """
    from forgetless.pipelines.build import Build
    from forgetless.train import run

    assert recipe.train
    if "WORLD_SIZE" in os.environ:
        raise UsageError(
            "`train.regenerate` makes rows between epochs, in one process", "start it without torchrun"
        )
    for epoch in range(1, int(recipe.train.epochs) + 1):
        note(f"epoch {epoch} of {recipe.train.epochs:g}: {', '.join(recipe.train.regenerate)}")
        build = Build(_for_build(recipe, epoch))
        if refused := build.run().too_many_rejects():
            note(
                f"warning: {', '.join(refused)}: more rejects than allowed; training goes on with the others"
            )
        fresh = {build.digests()[name] for name in recipe.train.regenerate}
        yield run.train(_for_train(recipe, epoch, fresh))


def _for_build(recipe: Recipe, epoch: int) -> Recipe:
    """Everything in the first epoch; then what is made anew, and its scores where training needs them."""
    if epoch == 1:
        return recipe
    assert recipe.train
    steps = [
        step
        for step in recipe.steps
        if (step.name or step.pipeline) in recipe.train.regenerate
        or (isinstance(step, Score) and any(isinstance(o, Stored) for o in recipe.train.objectives))
    ]
    return _trained(recipe, epoch).model_copy(update={"steps": steps})


def _for_train(recipe: Recipe, epoch: int, fresh: set[str]) -> Recipe:
    """One epoch on its own: of the steps made anew only the newest rows count."""
    train = recipe.train
    assert train
    targets = (
        f"SELECT id FROM records SEMI JOIN ({train.targets.strip().rstrip(';')}\n) USING (id) "
        f"WHERE step NOT IN ({_quoted(train.regenerate)}) OR digest IN ({_quoted(sorted(fresh))})"
    )
    name = f"{train.name or train.output.name}-epoch-{epoch}"
    alone = {
        "output": train.output / f"epoch-{epoch}", "name": name, "targets": targets, "regenerate": [], "epochs": 1,
    }  # fmt: skip
    return _trained(recipe, epoch).model_copy(update={"train": train.model_copy(update=alone)})


def _quoted(names: Iterable[str]) -> str:
    """Texts in SQL, listed."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


def _trained(recipe: Recipe, epoch: int) -> Recipe:
    """The recipe with the checkpoint of the epoch before as its model; that one brings its own template."""
    if epoch == 1:
        return recipe
    assert recipe.train
    folder = str(recipe.train.output / f"epoch-{epoch - 1}")
    model = recipe.model.model_copy(update={"path": folder, "revision": None, "chat_template": None})
    return recipe.model_copy(update={"model": model})
