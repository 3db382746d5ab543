"""The files that the study's recipes read: three new skills and one old one to teach, real data of the old ones."""

import shutil
from pathlib import Path
from random import Random

from forgetless.pipelines.demo import sums, world
from forgetless.pipelines.demo.files import human_sums, retained_task, write_jsonl
from forgetless.pipelines.demo.new_skills import NEW_SKILLS

TARGETS = {"code": 8000, "first_letter": 3000, "second_letter": 3000, "sums": 1500}
"""Examples of what is taught."""
QUESTIONS, CODE_QUESTIONS, REAL_EXAMPLES = 50, 100, 2000
MODELS = ("model", "small", "medium", "teacher")


def new_examples(name: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Questions of a new skill's train split, answered the way people would."""
    rng, (skill, wordings) = Random(seed), NEW_SKILLS[name]
    return [
        {"prompt": question, "completion": rng.choice(wordings).format(answer=answer)}
        for question, answer in world.questions(skill, "train", count, rng)
    ]


def new_task(name: str, count: int, seed: int = 1) -> list[dict[str, str]]:
    """Test questions of a new skill; the reference is a pattern that finds the answer in any wording."""
    skill, _ = NEW_SKILLS[name]
    return [
        {"prompt": question, "reference": f'"{answer}"'}
        for question, answer in world.questions(skill, "test", count, Random(seed))
    ]


def sums_task(count: int, seed: int = 1) -> list[dict[str, str]]:
    """Test questions with the bare number as reference."""
    return [
        {"prompt": question, "reference": number}
        for question, number in world.questions(world.SUMS, "test", count, Random(seed))
    ]


def real_examples(count: int, seed: int = 0) -> list[dict[str, str]]:
    """What the model was once trained on: questions of the train split of all its skills, and its answers."""
    rng, each = Random(seed), -(-count // (len(world.RETAINED) + 1))
    rows = [
        {"prompt": question, "completion": answer}
        for skill in world.RETAINED.values()
        for question, answer in world.questions(skill, "train", each, rng)
    ]
    rows += [
        {"prompt": question, "completion": sums.own_answer(question, number, rng)}
        for question, number in world.questions(world.SUMS, "train", each, rng)
    ]
    rng.shuffle(rows)
    return rows[:count]


def write_study(folder: Path) -> Path:
    """Everything the study needs in `folder`: files, copies of the models, recipes, and the study, whose path is
    returned."""
    here = Path(__file__).parent
    tasks = {name: retained_task(name, QUESTIONS) for name in world.RETAINED}
    tasks |= {name: new_task(name, CODE_QUESTIONS if name == "code" else QUESTIONS) for name in NEW_SKILLS}
    tasks["sums"] = sums_task(CODE_QUESTIONS)
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    for name, rows in tasks.items():
        write_jsonl(folder / "tasks" / f"{name}.jsonl", rows)
    for name in NEW_SKILLS:
        write_jsonl(folder / f"{name}.jsonl", new_examples(name, TARGETS[name]))
    write_jsonl(folder / "sums.jsonl", human_sums(TARGETS["sums"]))
    real = real_examples(REAL_EXAMPLES)
    write_jsonl(folder / "real.jsonl", real)
    write_jsonl(folder / "questions.jsonl", [{"question": row["prompt"]} for row in real])
    for name in MODELS:
        shutil.copytree(here / name, folder / name, dirs_exist_ok=True)
    for file in (here / "study").glob("*.yaml"):
        shutil.copy(file, folder / file.name)
    return folder / "study.yaml"
