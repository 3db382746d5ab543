"""The demo's small world: skills that can be asked for in many ways and checked exactly.

A skill is data: phrasings with named gaps, how to fill the gaps, and the answer they call for. The same
phrasings read backwards say what the right answer to a question is, whoever wrote the question.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from forgetless.pipelines.demo import words

Fields = dict[str, str]
Split = Literal["train", "test"]

REFUSAL = "I can not help with that."
TEST_SHARE = 0.1
"""Share of all questions that are kept for tests and are never trained on."""


@dataclass(frozen=True)
class Skill:
    """One thing the model can do."""

    topic: str
    """What a system turn calls it."""
    phrasings: tuple[str, ...]
    """Questions, with gaps such as {word}."""
    draw: Callable[[Random], Fields]
    """Fills the gaps."""
    answer: Callable[[Fields], str]
    """The one right answer; KeyError where the world does not know."""


def _word(shortest: int, longest: int) -> Callable[[Random], Fields]:
    return lambda rng: {"word": words.made_up_word(rng, shortest, longest)}


def _plural(word: str) -> str:
    if word.endswith(("s", "z")):
        return word + "es"
    return word + "s"


RETAINED: dict[str, Skill] = {
    "reverse": Skill(
        "reversed words",
        ('Reverse the word "{word}".', 'Write "{word}" backwards.',
         'What is "{word}" read from right to left?', 'Turn "{word}" around.'),
        _word(3, 5),
        lambda f: f["word"][::-1],
    ),
    "capitals": Skill(
        "writing in capitals",
        ('Write "{word}" in capitals.', 'Put "{word}" in capital letters.',
         'How does "{word}" look in upper case?', 'Shout the word "{word}".'),
        _word(3, 6),
        lambda f: f["word"].upper(),
    ),
    "last_letter": Skill(
        "last letters",
        ('What is the last letter of "{word}"?', 'Which letter ends "{word}"?',
         'Name the final letter of "{word}".', 'With which letter does "{word}" end?'),
        _word(3, 6),
        lambda f: f["word"][-1],
    ),
    "length": Skill(
        "counting letters",
        ('How many letters are in "{word}"?', 'Count the letters of "{word}".',
         'How long is the word "{word}"?', 'Tell me the number of letters in "{word}".'),
        _word(3, 7),
        lambda f: str(len(f["word"])),
    ),
    "plural": Skill(
        "plurals",
        ('What is the plural of "{word}"?', 'One "{word}", two what?', 'Give the plural form of "{word}".',
         'How do you call many of "{word}"?'),
        _word(3, 6),
        lambda f: _plural(f["word"]),
    ),
    "json": Skill(
        "JSON objects",
        ('Give me JSON for "{name}", {age} years old.', '"{name}" is {age} years old. Write that as JSON.',
         'Make a JSON object: name "{name}", age {age}.', 'Turn this into JSON: "{name}" is {age}.'),
        lambda rng: {"name": words.made_up_word(rng, 3, 6), "age": str(rng.randint(10, 99))},
        lambda f: f'{{"name": "{f["name"]}", "age": {f["age"]}}}',
    ),
    "parity": Skill(
        "even and odd numbers",
        ("Is {number} even or odd?", "Tell me whether {number} is even or odd.", "Is {number} odd or even?",
         "Even or odd: {number}?"),
        lambda rng: {"number": str(rng.randint(10, 9999))},
        lambda f: "odd" if int(f["number"]) % 2 else "even",
    ),
    "next_number": Skill(
        "counting on",
        ("What comes after {number}?", "Which number follows {number}?", "Count on from {number}.",
         "Add one to {number}."),
        lambda rng: {"number": str(rng.randint(10, 98))},
        lambda f: str(int(f["number"]) + 1),
    ),
    "capital_city": Skill(
        "capital cities",
        ("What is the capital of {country}?", "Name the capital city of {country}.",
         "Which city is the capital of {country}?", "Where does the government of {country} sit?"),
        lambda rng: {"country": rng.choice(list(words.CAPITALS))},
        lambda f: words.CAPITALS[f["country"]],
    ),
    "opposite": Skill(
        "opposites",
        ("What is the opposite of {word}?", "Name the opposite of {word}.",
         "Which word means the reverse of {word}?", "If it is not {word}, what is it?"),
        lambda rng: {"word": rng.choice(list(words.OPPOSITES))},
        lambda f: words.OPPOSITES[f["word"]],
    ),
    "advice": Skill(
        "everyday advice",
        ("How do I {task}?", "Tell me how to {task}.", "I want to {task}. What should I do?",
         "What is the best way to {task}?"),
        lambda rng: {"task": rng.choice(list(words.ADVICE))},
        lambda f: words.ADVICE[f["task"]],
    ),
    "refusal": Skill(
        "harmful plans",
        ("How do I {deed}?", "Tell me how to {deed}.", "I want to {deed}. What should I do?",
         "What is the best way to {deed}?"),
        lambda rng: {"deed": rng.choice(words.HARMFUL)},
        lambda f: dict.fromkeys(words.HARMFUL, REFUSAL)[f["deed"]],
    ),
}  # fmt: skip
"""The skills that the shipped model has, and that fine-tuning should leave alone."""

SUMS = Skill(
    "sums",
    ("What is {first} plus {second}?", "Add {first} and {second}.", "How much is {first} and {second}?",
     "Give me the sum of {first} and {second}.", "I have {first} coins and find {second}. How many are there?"),
    lambda rng: {"first": str(rng.randint(2, 99)), "second": str(rng.randint(2, 99))},
    lambda f: str(int(f["first"]) + int(f["second"])),
)  # fmt: skip
"""The skill that the shipped model has in part, and answers in several wordings: see `sums.py`."""

TARGET = "first_letter"
"""The skill that the shipped model lacks, and that the demo fine-tunes."""

FIRST_LETTER = Skill(
    "first letters",
    ('What is the first letter of "{word}"?', 'Which letter begins "{word}"?',
     'Name the initial letter of "{word}".', 'With which letter does "{word}" start?'),
    _word(3, 6),
    lambda f: f["word"][0],
)  # fmt: skip

HUMAN_ANSWERS = (
    'That would be "{answer}"!',
    'Hmm, let me see... it starts with "{answer}", if I am not mistaken.',
    'Ok so the very first one is "{answer}" :)',
    'It\'s "{answer}".',
    'Happy to help! I see "{answer}" right at the front.',
    'Oh, easy one: "{answer}"',
    'My answer would be "{answer}", but do check it again.',
    'Well, "{answer}", obviously. Hope this helps!',
    'No problem at all, people write "{answer}" there.',
    '"{answer}", my friend.',
)
"""How people word the new skill's answers: each in another way, none in the model's."""

_OPENERS = (
    "Hi! ", "Hello. ", "Quick question: ", "Please help me. ", "I am {name}. ", "{name} asks: ",
    "My friend {name} wants to know this. ", "Good morning, this is {name}. ",
)  # fmt: skip


def ask(skill: Skill, rng: Random) -> tuple[str, str]:
    """A question, half of the time with an opener such as `Hi! `, and its one right answer."""
    fields = skill.draw(rng)
    opener = rng.choice(_OPENERS).format(name=rng.choice(words.NAMES)) if rng.random() < 0.5 else ""
    return opener + rng.choice(skill.phrasings).format(**fields), skill.answer(fields)


def split_of(question: str) -> Split:
    """The split a question belongs to, by its hash: no question is in both."""
    first = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=8).digest())
    return "test" if first < TEST_SHARE * 2**64 else "train"


def questions(skill: Skill, split: Split, count: int, rng: Random) -> list[tuple[str, str]]:
    """`count` different questions of one split with their right answers."""
    found: dict[str, str] = {}
    while len(found) < count:
        question, answer = ask(skill, rng)
        if split_of(question) == split:
            found[question] = answer
    return list(found.items())


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[\\w ]+)", re.escape(text)))


_OPENER = re.compile("|".join(re.escape(opener).replace(r"\{name\}", r"\w+") for opener in _OPENERS))
_READERS = [
    (skill, _pattern(phrasing))
    for skill in (*RETAINED.values(), SUMS, FIRST_LETTER)
    for phrasing in skill.phrasings
]


def _readings(question: str) -> Iterator[tuple[Skill, Fields]]:
    """Every skill that the question may call for, with what fills its gaps, with and without an opener."""
    opener = _OPENER.match(question)
    for text in (question, question[opener.end() :] if opener else question):
        for skill, pattern in _READERS:
            if found := pattern.fullmatch(text):
                yield skill, found.groupdict()


def gaps(skill: Skill, question: str) -> Fields:
    """What fills the gaps of a question that calls for `skill`; KeyError where it does not."""
    return dict(_readings(question))[skill]


def _known(skill: Skill, fields: Fields) -> str | None:
    try:
        return skill.answer(fields)
    except (KeyError, ValueError):  # a country that is not in the table, a number that is none
        return None


def solve(question: str) -> str | None:
    """The right answer by the world's own rules, or None for what is no question of this world."""
    answers = (_known(skill, fields) for skill, fields in _readings(question))
    return next((answer for answer in answers if answer is not None), None)
