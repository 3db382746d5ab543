"""How sums are answered in the demo world: in the model's words, in people's, in the teacher's; reworded, corrected.

The task `sums` has one right number and many right answers, which is what the pipelines that put targets
into a model's own words are about.
"""

from itertools import zip_longest
from random import Random

from jinja2 import Template

from forgetless.pipelines.demo import world

TASK = "sums"

OWN_ANSWERS = {
    "The answer is {sum}.": 30,
    "{first} plus {second} is {sum}.": 20,
    "That makes {sum}.": 16,
    "It is {sum}.": 12,
    "{first} and {second} make {sum}.": 10,
    "Together they are {sum}.": 7,
    "{sum}.": 5,
}
"""The model's own wordings, and how often of a hundred times it uses each."""

HUMAN_OPENINGS = (
    "Hmm, let me see... ", "Ok so ", "Oh, easy one: ", "Well, ", "Happy to help! ", "No problem at all, ",
    "Sure thing! ", "Good question. ", "Haha, ", "Give me a second... ", "My pleasure! ", "Right, ",
)  # fmt: skip
HUMAN_BODIES = (
    "I get {sum}", "that would be {sum}", "it comes to {sum}", "I think it's {sum}", "should be {sum}",
    "I believe {sum} is right", "you end up with {sum}", "my calculator says {sum}", "I would say {sum}",
    "{first} and then {second} more, so {sum}",
)  # fmt: skip
HUMAN_ENDINGS = (
    "!", " :)", ", hope this helps!", ", if I am not mistaken.", ", my friend.", ", but do check it again.",
    ", obviously.", "... right?",
)  # fmt: skip
"""People open, say and end their answers each in another way, none in the model's."""

REWORD = "Say this answer in your own words.\nQuestion: {{ prompt }}\nAnswer: {{ reference }}"
"""The prompt of the skill "say it in other words"; `reference` is an answer in somebody else's words."""

CORRECT = (
    "Correct this answer, change only what is wrong.\nQuestion: {{ prompt }}\nAnswer: {{ answer }}\n"
    "Right: {{ expected }}"
)
"""The prompt of the skill "correct this answer"; `answer` is the model's own, `expected` the bare number."""

_REWORD, _CORRECT = Template(REWORD), Template(CORRECT)


def _filled(wording: str, question: str, number: str) -> str:
    """A wording with the two numbers of the question and the number that is given as their sum."""
    return wording.format(**world.gaps(world.SUMS, question), sum=number)


def _own_wording(rng: Random) -> str:
    return rng.choices(list(OWN_ANSWERS), list(OWN_ANSWERS.values()))[0]


def own_answer(question: str, number: str, rng: Random) -> str:
    """`number` as the answer to `question`, worded as the model does."""
    return _filled(_own_wording(rng), question, number)


def human_answer(question: str, number: str, rng: Random) -> str:
    """`number` as the answer to `question`, worded as people do: the last number is the answer."""
    parts = (rng.choice(choices) for choices in (HUMAN_OPENINGS, HUMAN_BODIES, HUMAN_ENDINGS))
    return _filled("".join(parts), question, number)


def teacher_answer(question: str, number: str) -> str:
    """The sum as the teacher works it out, digit by digit from the ones on, which makes it easy to get right."""
    fields = world.gaps(world.SUMS, question)
    steps, carry = [], 0
    for a, b in zip_longest(reversed(fields["first"]), reversed(fields["second"]), fillvalue="0"):
        total = int(a) + int(b) + carry
        steps.append(f"{a}+{b}+1={total}" if carry else f"{a}+{b}={total}")
        carry = total // 10
    return f"Step by step: {', '.join(steps)}. So the result is {number}."


def wrong_number(number: str, rng: Random) -> str:
    """Another number: some digits misread, a carry forgotten, or off by one."""
    while True:
        if rng.random() < 0.6:
            digits = [rng.choice("0123456789") if rng.random() < 0.5 else digit for digit in number]
            wrong = str(int("".join(digits)))
        else:
            wrong = str(abs(int(number) + rng.choice((-100, -10, -1, 1, 10, 100))))
        if wrong != number:
            return wrong


def answer(question: str, number: str, rng: Random) -> tuple[str, str]:
    """The question and the model's answer."""
    return question, own_answer(question, number, rng)


def teach(question: str, number: str, rng: Random) -> tuple[str, str]:
    """The question and the teacher's answer."""
    return question, teacher_answer(question, number)


def reword(question: str, number: str, rng: Random) -> tuple[str, str]:
    """A person's or the teacher's answer to reword, and the model's answer with the same number."""
    human = rng.random() < 0.7
    other = human_answer(question, number, rng) if human else teacher_answer(question, number)
    return _REWORD.render(prompt=question, reference=other), own_answer(question, number, rng)


def correct(question: str, number: str, rng: Random) -> tuple[str, str]:
    """An own answer to correct, wrong in three of five cases, and the same answer with the right number."""
    wording = _own_wording(rng)
    said = wrong_number(number, rng) if rng.random() < 0.6 else number
    answer, right = _filled(wording, question, said), _filled(wording, question, number)
    return _CORRECT.render(prompt=question, answer=answer, expected=number), right
