"""What tests share: where the real models are, and recipes over them."""

from pathlib import Path
from typing import Any

import pytest

from forgetless.curator.recipes import parse_recipe
from forgetless.schemas.recipe import Recipe

ROOT = Path(__file__).parent.parent
DEMO_MODEL = ROOT / "pipelines" / "demo" / "model"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real inputs that lie beside a working copy; a fresh clone has none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared is absent")
    return folder


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The model the package ships."""
    return DEMO_MODEL


def recipe_of(store: Path, model: Path, steps: list[dict[str, Any]], **more: Any) -> Recipe:
    """A recipe from plain data, as YAML would give it."""
    data = {"store": str(store), "model": {"path": str(model)}, "steps": steps, **more}
    return parse_recipe(data, base=store.parent)
