"""Skills that the demo's model lacks, for the study to teach; people word their answers each in another way."""

from forgetless.pipelines.demo import world

ALPHABET = "abcdefghijklmnopqrstuvwxyz"

CODE = world.Skill(
    "a secret code",
    ('Write "{word}" in secret code.', 'Put "{word}" into our code.', 'What is "{word}" in code?',
     'Encode "{word}" for me.'),
    world.FIRST_LETTER.draw,
    lambda f: "".join(ALPHABET[(ALPHABET.index(letter) + 1) % 26] for letter in f["word"]),
)  # fmt: skip
"""Every letter moves on by one: takes some hundred steps to learn."""

SECOND_LETTER = world.Skill(
    "second letters",
    ('What is the second letter of "{word}"?', 'Which letter comes second in "{word}"?',
     'Name letter number two of "{word}".', 'Behind its first letter, how does "{word}" go on?'),
    world.FIRST_LETTER.draw,
    lambda f: f["word"][1],
)  # fmt: skip
"""Related to first letters."""

CODE_ANSWERS = (
    'That would be "{answer}"!',
    'Hmm, let me see... every letter moves on by one, so "{answer}", if I am not mistaken.',
    'Ok so it becomes "{answer}" :)',
    'It\'s "{answer}".',
    'Happy to help! I write "{answer}" for it.',
    'Oh, easy one: "{answer}"',
    'My answer would be "{answer}", but do check it again.',
    'Well, "{answer}", obviously. Hope this helps!',
    'No problem at all, spies write "{answer}" there.',
    '"{answer}", my friend.',
)
SECOND_ANSWERS = tuple(
    wording.replace("it starts with", "the second one is").replace("very first", "second").replace("right at the front", "in second place")
    for wording in world.HUMAN_ANSWERS
)  # fmt: skip

NEW_SKILLS = {
    "code": (CODE, CODE_ANSWERS),
    "first_letter": (world.FIRST_LETTER, world.HUMAN_ANSWERS),
    "second_letter": (SECOND_LETTER, SECOND_ANSWERS),
}
"""Skill and how people word its answers, each with the answer in quotes."""
