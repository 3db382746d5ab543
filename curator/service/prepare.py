"""From a job that was asked for to the command line's arguments: names become paths, settings become files."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetless.curator.recipes import read_yaml
from forgetless.curator.service.confinement import confined, inside, model_path
from forgetless.curator.service.settings import Settings
from forgetless.curator.service.stores import Stores, free_name
from forgetless.schemas.errors import RecipeError, UsageError
from forgetless.schemas.jobs import AnyJob, Demo, Eval, Export
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.study import Experiment, Study
from forgetless.schemas.suite import Suite

RECIPE_BYTES = 1_000_000


@dataclass
class Prepared:
    """What is run, and what it touches."""

    arguments: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)
    """By name; one that is not there yet by the name that it will have."""
    writes: list[Path] = field(default_factory=list)
    """Folders and files that no other job may touch at the same time."""


def prepare(asked: AnyJob, folder: Path, settings: Settings, stores: Stores) -> Prepared:
    """Everything that `asked` names, held against what the service may touch; its settings are written into `folder`.

    Raises:
        UsageError: it names what it may not, or its settings are wrong.
        Problem: 404, there is no store of this name.
    """
    preparation = _Preparation(asked, folder, settings, stores)
    placed = {
        name: preparation.place(asked.PLACES[name], value)
        for name, value in asked.given().items()
        if name in asked.PLACES
    }
    if isinstance(asked, Export) and asked.to is None:
        placed["to"] = str(folder / "export")
    if isinstance(asked, Demo):
        preparation.check_demo(asked, Path(placed["folder"]))
    preparation.prepared.arguments = asked.argv(placed)
    return preparation.prepared


@dataclass
class _Preparation:
    asked: AnyJob
    folder: Path
    settings: Settings
    stores: Stores
    prepared: Prepared = field(default_factory=Prepared)

    def place(self, what: str, value: Any) -> Any:
        """A field's value as the command line takes it."""
        if isinstance(value, list):
            return [self.place(what, each) for each in value]
        found: str = getattr(self, f"_{what}")(value)
        return found

    def _store(self, name: str) -> str:
        path = self.stores.path(name)
        self.prepared.stores.append(name)
        self.prepared.writes.append(path)
        return str(path)

    def _path(self, path: str) -> str:
        return str(inside(path, self.settings))

    def _written(self, path: str) -> str:
        placed = inside(path, self.settings)
        self.prepared.writes.append(placed)
        return str(placed)

    def _model(self, name: str) -> str:
        return model_path(name, self.settings)

    def _recipe(self, source: str | dict[str, Any]) -> str:
        overrides = getattr(self.asked, "overrides", ())
        recipe = confined(
            Recipe, copy.deepcopy(source), self.settings, getattr(self.asked, "base", None), overrides
        )
        self._touched(recipe)
        return self._file("recipe", recipe)

    def _suite(self, source: str | dict[str, Any]) -> str:
        assert isinstance(self.asked, Eval)
        return self._file("suite", confined(Suite, source, self.settings, self.asked.suite_base))

    def _study(self, source: str | dict[str, Any]) -> str:
        """The recipes that it names become part of the job: what was held against the rules is what is run."""
        study = confined(Study, source, self.settings, getattr(self.asked, "base", None))
        experiments = {name: self._experiment(name, each) for name, each in study.experiments.items()}
        return self._file("study", study.model_copy(update={"experiments": experiments}))

    def _experiment(self, name: str, experiment: Experiment) -> Experiment:
        path = experiment.recipe
        if not path.is_file() or path.stat().st_size > RECIPE_BYTES:
            raise RecipeError(
                f"study: experiment {name!r}: {str(path)!r} is no recipe", "name a YAML file of the service's"
            )
        source = read_yaml(path.read_text(errors="replace"), Recipe, repr(str(path)))
        recipe = confined(Recipe, source, self.settings, str(path.parent), experiment.set)
        self._touched(recipe)
        for changes in experiment.methods.values():
            overrides = [f"train.{key}={json.dumps(value)}" for key, value in changes.items()]
            confined(
                Recipe, recipe.model_dump(mode="json", exclude_unset=True), self.settings, None, overrides
            )
        number = sum(1 for _ in self.folder.glob("experiment-*"))
        file = Path(self._file(f"experiment-{number}", recipe))
        return experiment.model_copy(update={"recipe": file, "set": []})

    def _file(self, name: str, settings: Recipe | Suite | Study) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.yaml"  # JSON is YAML
        path.write_text(settings.model_dump_json(exclude_unset=True, indent=2) + "\n")
        return str(path)

    def _touched(self, recipe: Recipe) -> None:
        paths = self.stores.paths()
        self.prepared.stores.append(self.stores.name(recipe.store) or free_name(recipe.store, paths))
        self.prepared.writes.append(recipe.store)
        if recipe.train and recipe.train.output:
            self.prepared.writes.append(recipe.train.output)

    def check_demo(self, demo: Demo, folder: Path) -> None:
        """Its recipe is written when it runs; what is put on top of it is held against the same recipe now."""
        self.prepared.stores.append(
            self.stores.name(folder / "store") or free_name(folder / "store", self.stores.paths())
        )
        if not demo.overrides:
            return
        example = self.settings.examples.get("targets" if demo.which == "targets" else "demo")
        if example is None:
            raise UsageError("this service has no recipe of the demo", "leave `overrides` out")
        confined(Recipe, example.read_text(), self.settings, str(folder), demo.overrides)
