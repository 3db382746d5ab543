"""The files that the demo's recipe reads: what to learn, and what to ask before and after."""

import json
import shutil
from pathlib import Path
from random import Random

from forgetless.pipelines.demo import sums, world

TARGET_EXAMPLES, SUMS_EXAMPLES, TASK_QUESTIONS = 800, 1000, 50


def human_examples(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Questions of the new skill's train split, answered the way people would."""
    rng = Random(seed)
    return [
        {"prompt": question, "completion": rng.choice(world.HUMAN_ANSWERS).format(answer=answer)}
        for question, answer in world.questions(world.FIRST_LETTER, "train", count, rng)
    ]


def worded(answer: str) -> str:
    """The pattern that finds a letter in any wording: in quotes, since `a` is a word too."""
    return f'"{answer}"'


def target_task(count: int, seed: int = 1) -> list[dict[str, str]]:
    """Test questions of the new skill; the reference is a pattern."""
    return [
        {"prompt": question, "reference": worded(answer)}
        for question, answer in world.questions(world.FIRST_LETTER, "test", count, Random(seed))
    ]


def retained_task(name: str, count: int, seed: int = 1) -> list[dict[str, str]]:
    """Questions of a retained skill's test split with the exact answer as reference."""
    return [
        {"prompt": question, "reference": answer}
        for question, answer in world.questions(world.RETAINED[name], "test", count, Random(seed))
    ]


def human_sums(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Sums of the train split with a person's answer and the bare number."""
    rng = Random(seed)
    return [
        {"prompt": question, "completion": sums.human_answer(question, number, rng), "reference": number}
        for question, number in world.questions(world.SUMS, "train", count, rng)
    ]


def write_files(folder: Path) -> None:
    """Writes `target_train.jsonl` and, for every skill, `tasks/<skill>.jsonl` into `folder`."""
    tasks = {name: retained_task(name, TASK_QUESTIONS) for name in world.RETAINED}
    tasks[world.TARGET] = target_task(TASK_QUESTIONS)
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "target_train.jsonl", human_examples(TARGET_EXAMPLES))
    for name, rows in tasks.items():
        write_jsonl(folder / "tasks" / f"{name}.jsonl", rows)


def write_demo(folder: Path) -> Path:
    """Everything the demo needs in `folder`: its files, a copy of the model, the recipe, whose path is returned."""
    here = Path(__file__).parent
    write_files(folder)
    shutil.copytree(here / "model", folder / "model", dirs_exist_ok=True)
    shutil.copy(here / "recipe.yaml", folder / "recipe.yaml")
    return folder / "recipe.yaml"


def write_targets_demo(folder: Path) -> Path:
    """What the demo of self-made targets needs: `sums.jsonl`, copies of both models, the recipe, whose path is returned."""
    here = Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "sums.jsonl", human_sums(SUMS_EXAMPLES))
    for name in ("model", "teacher"):
        shutil.copytree(here / name, folder / name, dirs_exist_ok=True)
    shutil.copy(here / "targets.yaml", folder / "targets.yaml")
    return folder / "targets.yaml"


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    """One line of JSON per row."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
