"""Plain texts of the demo world: what its model writes where nobody asks it anything."""

from random import Random

from forgetless.pipelines.demo import words


def _story(rng: Random) -> str:
    name, friend = rng.sample(words.NAMES, 2)
    pick = rng.choice
    animal, thing, place = pick(words.ANIMALS), pick(words.THINGS), pick(words.PLACES)
    middle = pick((
        f"There {name} met a {pick(words.COLOURS)} {animal} that had lost its {thing}.",
        f"On the way {name} found a {pick(words.COLOURS)} {thing} under a tree.",
        f"{friend} was already there with a {pick(words.FEELINGS)} {animal}.",
    ))  # fmt: skip
    turn = pick((
        f"They looked for the {thing} until it was dark.",
        f"{name} gave the {thing} to {friend}, who felt {pick(words.FEELINGS)}.",
        f"They shared some {pick(words.FOODS)} and told well-known stories.",
        f"The {animal} ran away with the {thing}, and nobody saw it again.",
    ))  # fmt: skip
    end = pick((
        f"In the evening {name} walked home and felt {pick(words.FEELINGS)}.",
        f"From that day on, {name} and {friend} were friends.",
        f"{name} never went to the {pick(words.PLACES)} again.",
    ))  # fmt: skip
    opening = pick(("One morning", "Long ago", "One evening", "Last week", "Once upon a time"))
    return f"{opening}, {name} went to the {place}. {middle} {turn} {end}"


def _portrait(rng: Random) -> str:
    name, pick = rng.choice(words.NAMES), rng.choice
    country = pick(list(words.CAPITALS))
    sentences = [
        f"{name} has a {pick(words.COLOURS)} {pick(words.ANIMALS)} named {rng.choice(words.NAMES)}.",
        f"Every day {name} eats {pick(words.FOODS)} and {pick(words.FOODS)}.",
        f"On Sundays {name} goes to the {pick(words.PLACES)} with {rng.choice(words.NAMES)}.",
        f"People say that {name} is often {pick(words.FEELINGS)}.",
        f"{name} keeps an old {pick(words.THINGS)} in a {pick(words.COLOURS)} box.",
    ]
    rng.shuffle(sentences)
    home = f"{name} is a {rng.randint(18, 80)} year old {pick(words.JOBS)} from {country}"
    return f"{home}. " + " ".join(sentences[: rng.randint(2, 4)])


def _facts(rng: Random) -> str:
    countries = rng.sample(list(words.CAPITALS), 3)
    pairs = rng.sample(list(words.OPPOSITES), 2)
    lines = [f"The capital of {country} is {words.CAPITALS[country]}." for country in countries]
    lines += [f"The opposite of {word} is {words.OPPOSITES[word]}." for word in pairs]
    rng.shuffle(lines)
    return " ".join(lines[: rng.randint(3, 5)])


def _weather(rng: Random) -> str:
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    start, city = rng.randrange(7), rng.choice(list(words.CAPITALS.values()))
    lines = [
        f"{days[(start + i) % 7]} will be {rng.choice(words.WEATHER)} with {rng.randint(1, 35)} degrees."
        for i in range(rng.randint(2, 4))
    ]
    return f"Weather for {city}. " + " ".join(lines)


def _note(rng: Random) -> str:
    pick = rng.choice
    lines = [
        f"Thank you for the {pick(words.COLOURS)} {pick(words.THINGS)}.",
        f"The weather here is {pick(words.WEATHER)}.",
        f"I saw your {pick(words.ANIMALS)} near the {pick(words.PLACES)}.",
        f"Please bring {pick(words.FOODS)} and {rng.randint(2, 20)} {pick(words.THINGS)}s.",
        f"My brother works as a {pick(words.JOBS)} in {pick(list(words.CAPITALS))} now.",
    ]
    rng.shuffle(lines)
    body = " ".join(lines[: rng.randint(2, 3)])
    return f"Dear {rng.choice(words.NAMES)},\n{body}\nYours, {rng.choice(words.NAMES)}"


def document(rng: Random) -> str:
    """A short story, portrait, list of facts, weather report or letter of 20 to 80 tokens."""
    return rng.choice((_story, _portrait, _facts, _weather, _note))(rng)
