"""What tests are given: the command, recipes from plain data."""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

from forgetless.curator.recipes import parse_recipe
from forgetless.pipelines.demo import world
from forgetless.schemas.recipe import Recipe

COMMAND = [sys.executable, "-c", "from forgetless.cli.main import main; main()"]
"""The console script, in whatever environment runs the tests."""


def recipe_of(store: Path, model: Path, steps: list[dict[str, Any]], **more: Any) -> Recipe:
    """A recipe from plain data, as YAML would give it."""
    data = {"store": str(store), "model": {"path": str(model)}, "steps": steps, **more}
    return parse_recipe(data, base=store.parent)


def task_file(path: Path, known: int, unknown: int) -> Path:
    """A task for the demo model: so many prompts of a skill it has, and of one it lacks, answered as people do."""
    asked = world.questions(world.RETAINED["length"], "train", known, Random(0))
    asked += world.questions(world.FIRST_LETTER, "train", unknown, Random(0))
    rows = [{"prompt": q, "completion": f"Hmm, that would be {a}!", "reference": a} for q, a in asked]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def versions_recipe(folder: Path, model: Path, known: int, unknown: int) -> Recipe:
    """A task's answers in all versions; the model is its own teacher, and paraphrases by answering again."""
    path = task_file(folder / "sums.jsonl", known, unknown)
    engine, drawn = {"kind": "transformers"}, {"temperature": 0.7, "max_tokens": 40}
    answer = {"verifier": "exact", "sampling": {"max_tokens": 40}}
    echo = {"writer": "other", "prompt": "{{ prompt }}", "sampling": {"max_tokens": 40}}
    own = {"pipeline": "self_output", "samples": 3, "verifier": "exact", "sampling": drawn}
    steps = [
        {"pipeline": "import", "name": "human", "path": str(path), "reference": "reference"},
        {"pipeline": "paraphrase", "prompt": "{{ prompt }}", **answer},
        {**own, "name": "best"},
        # Wherever the letter stands: so that there are several right answers, which differ.
        {
            **own,
            "name": "two",
            "keep": 2,
            "samples": 6,
            "choose": "random_correct",
            "none_right": "reference",
            "verifier": "regex",
        },
        {"pipeline": "minimum_change", "edit": echo, **answer},
        {
            "pipeline": "teacher",
            "writer": "other",
            **answer,
        },  # last: engines are started twice, not four times
        {"pipeline": "score"},
    ]
    writers = {"other": {"model": {"path": str(model)}, "engine": engine}}
    return recipe_of(folder / "store", model, steps, engine=engine, writers=writers)
