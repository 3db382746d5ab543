"""What the demo's models are taught: conversations of the train split, in the shares that each model needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from forgetless.pipelines.demo import sums, world


@dataclass(frozen=True)
class Lesson:
    """One kind of exchange."""

    skill: world.Skill
    """Whose questions of the train split it is about."""
    exchange: Callable[[str, str, Random], tuple[str, str]]
    """What is asked and answered, from a question and its right answer."""
    weight: int = 1
    """How often it comes, relative to the others."""


def _number(rng: Random) -> str:
    """A number below 100, the larger the rarer."""
    return str(rng.randint(1, rng.randint(3, 99)))


SMALL_SUMS = replace(world.SUMS, draw=lambda rng: {"first": _number(rng), "second": _number(rng)})
"""Sums as they are taught to be answered: who does not work them out gets to know small ones well and large ones
badly. Rewording and correcting copy a number, which is learned on all alike."""


def _as_is(question: str, answer: str, rng: Random) -> tuple[str, str]:
    return question, answer


HARD_SKILLS = {"reverse": 2, "capitals": 2, "parity": 2, "json": 3}
"""Taught more often than others, being learned last, most of all copying into a gap late in the answer."""

BASE = (
    *(Lesson(skill, _as_is, HARD_SKILLS.get(name, 1)) for name, skill in world.RETAINED.items()),
    Lesson(SMALL_SUMS, sums.answer, weight=5),
    Lesson(world.SUMS, sums.reword, weight=2),
    Lesson(world.SUMS, sums.correct, weight=2),
)
TEACHER = (Lesson(SMALL_SUMS, sums.teach), Lesson(world.SUMS, sums.correct))

SYSTEM_SHARE, SECOND_TURN_SHARE = 0.15, 0.15


def conversation(lessons: tuple[Lesson, ...], rng: Random) -> list[dict[str, str]]:
    """One or two exchanges of one lesson, some behind a system turn that names the skill."""
    lesson = rng.choices(lessons, [lesson.weight for lesson in lessons])[0]
    turns = 2 if rng.random() < SECOND_TURN_SHARE else 1
    messages = []
    if rng.random() < SYSTEM_SHARE:
        messages.append({"role": "system", "content": f"The user asks about {lesson.skill.topic}."})
    for question, answer in world.questions(lesson.skill, "train", turns, rng):
        said, reply = lesson.exchange(question, answer, rng)
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]
    return messages
