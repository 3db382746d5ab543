"""What tests are given: the command, recipes from plain data."""

import sys
from pathlib import Path
from typing import Any

from forgetless.curator.recipes import parse_recipe
from forgetless.schemas.recipe import Recipe

COMMAND = [sys.executable, "-c", "from forgetless.cli.main import main; main()"]
"""The console script, in whatever environment runs the tests."""


def recipe_of(store: Path, model: Path, steps: list[dict[str, Any]], **more: Any) -> Recipe:
    """A recipe from plain data, as YAML would give it."""
    data = {"store": str(store), "model": {"path": str(model)}, "steps": steps, **more}
    return parse_recipe(data, base=store.parent)
