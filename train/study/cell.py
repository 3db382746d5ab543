"""A cell of a study: one method with one setting and one seed, which is one run of `forgetless train`."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgetless.curator.models import model_fingerprint, resolve_model
from forgetless.curator.recipes import load_recipe
from forgetless.curator.store import Store
from forgetless.schemas.base import digest
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.study import Experiment, Setting

ALL = 1_000_000
"""More questions than any task has: while training, all are asked."""


@dataclass(frozen=True)
class Cell:
    """What is to be run, and where what came of it is kept."""

    experiment: str
    method: str
    setting: Setting
    seed: int
    recipe: Recipe
    """With all overrides."""
    folder: Path
    """Its name holds a digest of all that decides the outcome."""

    @property
    def row(self) -> str:
        """As findings name it."""
        return f"{self.experiment}/{self.method}"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.row}, rate {self.setting.learning_rate:g}, seed {self.seed}"

    def apart(self) -> "Cell":
        """The same with a copy of the store to itself."""
        copy = self.folder / "store"
        if not copy.exists():
            new = self.folder / "store.new"
            shutil.copytree(self.recipe.store, new, dirs_exist_ok=True)
            new.rename(copy)
        return replace(self, recipe=self.recipe.model_copy(update={"store": copy}))


@dataclass(frozen=True)
class Built:
    """An experiment whose store is built: what its cells share."""

    name: str
    experiment: Experiment
    recipe: Recipe
    folder: Path
    """Of the study's runs."""
    asked: str
    """Digest of what all cells share: model, snapshot, settings of the recipe's `train`, questions."""

    @classmethod
    def of(cls, name: str, experiment: Experiment, folder: Path) -> "Built":
        """UsageError where the recipe or its model cannot be read."""
        recipe = load_recipe(experiment.recipe, experiment.set)
        store = Store.open(recipe.store)
        train = recipe.train.model_dump(mode="json", exclude={"output", "tasks"}) if recipe.train else {}
        tasks = recipe.train.tasks if recipe.train else []
        asked = digest(
            model_fingerprint(resolve_model(recipe.model)),
            store.newest_snapshot(),
            train,
            [(task.model_dump(mode="json", exclude={"path"}), task.path.read_text()) for task in tasks],
            experiment.every,
        )
        return cls(name, experiment, recipe, folder, asked)

    def cells(self, method: str, setting: Setting, seeds: list[int]) -> Iterator[Cell]:
        """One per seed."""
        changes = self.experiment.methods[method]
        for seed in seeds:
            what = digest(self.asked, changes, setting.model_dump(), seed)
            place = f"rate-{setting.learning_rate:g}-steps-{setting.steps}-seed-{seed}-{what[:8]}"
            folder = self.folder / self.name / re.sub(r"[^\w.]+", "-", method) / place
            settings = {
                "output": str(folder / "run"), "name": f"{self.name}/{method}", "seed": seed,
                "learning_rate": setting.learning_rate, "steps": setting.steps, "schedule": "constant",
                "watch": {"every": self.experiment.every, "questions": ALL}, **changes,
            }  # fmt: skip
            recipe = load_recipe(self.experiment.recipe, [*self.experiment.set, *_overrides(settings)])
            yield Cell(self.name, method, setting, seed, recipe, folder)


def _overrides(settings: dict[str, Any]) -> Iterator[str]:
    return (f"train.{key}={json.dumps(value)}" for key, value in settings.items())
