"""/v1/recipes: ready-made ones, and what is wrong with one that is being written."""

import json
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from forgetless.curator.service.command import run_command
from forgetless.curator.service.confinement import confined
from forgetless.curator.service.problems import PROBLEMS, Problem
from forgetless.curator.service.recipe_lines import lines_of
from forgetless.curator.service.scratch import scratch
from forgetless.curator.service.service import Given, Service
from forgetless.schemas.base import Frozen
from forgetless.schemas.errors import UsageError
from forgetless.schemas.recipe import Recipe

router = APIRouter(prefix="/v1/recipes", tags=["recipes"], responses=PROBLEMS)

PLAN_SECONDS = 120


class Example(Frozen):
    """A ready-made recipe."""

    name: str
    about: str
    """Its first comment."""
    base: str
    """The folder that its relative paths are taken from."""
    text: str
    """YAML"""


class Examples(Frozen):
    """All there are."""

    recipes: list[Example]


class Draft(Frozen):
    """A recipe that is being written."""

    recipe: str
    """YAML"""
    base: str | None = None
    """The folder that its relative paths are taken from; the service's first root if not given."""
    overrides: list[str] = Field(default_factory=list, max_length=100)
    """`a.b=value`, on top of it."""


class Fault(Frozen):
    """What is wrong."""

    detail: str
    hint: str
    lines: list[int]
    """Of the text, from 1; none where it is not known."""


class StepLine(Frozen):
    """A step of a recipe."""

    name: str
    pipeline: str
    count: int | None
    """How many it makes; null where its input decides."""


class Summary(Frozen):
    """What a recipe would do."""

    name: str
    store: str
    """The store's name, or its folder where no store is there yet."""
    model: str
    steps: list[StepLine]
    trains: bool
    output: str | None
    """The folder of the checkpoint."""


class Checked(Frozen):
    """How it stands with a draft."""

    problems: list[Fault]
    summary: Summary | None
    """Null where there are problems."""


@router.get("")
def list_recipes(service: Given) -> Examples:
    """Recipes to begin with."""
    found = []
    for name, file in service.settings.examples.items():
        text = file.read_text()
        about = text.partition("\n")[0].lstrip("# ").rstrip(".")
        base = service.settings.base if "recipes" in file.parent.parts[-1:] else file.parent
        found.append(Example(name=name, about=about, base=str(base), text=text))
    return Examples(recipes=found)


@router.post("/check")
def check_recipe(draft: Draft, service: Given) -> Checked:
    """Whether it could run here; nothing is run."""
    try:
        recipe = confined(Recipe, draft.recipe, service.settings, draft.base, draft.overrides)
    except UsageError as error:
        fault = Fault(detail=error.message, hint=error.hint, lines=lines_of(draft.recipe, error.message))
        return Checked(problems=[fault], summary=None)
    return Checked(problems=[], summary=_summary(recipe, service))


@router.post("/plan")
async def plan_recipe(draft: Draft, service: Given) -> list[dict[str, Any]]:
    """What is there and what would be made, by step: as `forgetless build --dry-run --json`."""
    recipe = confined(Recipe, draft.recipe, service.settings, draft.base, draft.overrides)
    with scratch(service.settings.home) as folder:
        (folder / "recipe.yaml").write_text(recipe.model_dump_json(exclude_unset=True))
        done = await run_command(["build", "recipe.yaml", "--dry-run", "--json"], folder, PLAN_SECONDS)
    if done.code:
        raise Problem(400, *done.error)
    plan: list[dict[str, Any]] = json.loads(done.stdout)
    return plan


def _summary(recipe: Recipe, service: Service) -> Summary:
    return Summary(
        name=recipe.name,
        store=service.stores.name(recipe.store) or str(recipe.store),
        model=recipe.model.path,
        steps=[
            StepLine(
                name=step.name or step.pipeline, pipeline=step.pipeline, count=getattr(step, "count", None)
            )
            for step in recipe.steps
        ],
        trains=recipe.train is not None,
        output=str(recipe.train.output) if recipe.train else None,
    )
