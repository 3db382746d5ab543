"""The recipes that ship as patterns for models and data of one's own."""

from pathlib import Path

import pytest

import forgetless.pipelines
from forgetless.curator.recipes import load_recipe

FOLDER = Path(forgetless.pipelines.__file__).parent / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_patterns() -> None:
    assert [file.stem for file in FILES] == ["own_words", "replay"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_pattern_is_a_recipe_that_says_what_it_is(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.steps and recipe.train and recipe.train.tasks
    first = file.read_text().partition("\n")[0]
    assert first.startswith("# ") and len(first) < 110
