"""Letters of a multiple choice, and words that look like them."""

import pytest

from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.errors import UsageError

choice = verifier("choice")


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", "(B)", "(b)", "B.", "B)", "b)", "**B**", "B) Paris", "B: Paris", "B. Paris", "(B) Paris",
        "The answer is B", "The answer is (B).", "The answer is **B**, since A is too small.", "the answer is b.",
        "Answer: B", "**Answer: (B) Paris**", "Final answer: B) Paris", r"\boxed{B}", r"$\boxed{\text{B}}$",
        "I choose B.", "I would pick option B because A is wrong", "The correct option is B.",
        "It is B", "A city in France is meant: (B)", "I think it's (B) Paris.", "option b)", "The correct answer is: B",
        "The best choice is **(B)**",
    ],
)  # fmt: skip
def test_ways_to_choose(answer: str) -> None:
    assert choice(answer, "B").passed
    assert choice(answer, "(b)").passed
    assert choice(answer, "B) Paris").passed
    verdict = choice(answer, "C")
    assert (verdict.passed, verdict.reason) == (False, "B is not C")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A dog is an animal.", "no choice in the answer"),
        ("I do not know.", "no choice in the answer"),
        ("The answer is a dog.", "no choice in the answer"),
        ("The answer: I can't tell", "no choice in the answer"),
        ("", "no choice in the answer"),
        ("Paris", "no choice in the answer"),
        ("K", "no choice in the answer"),
        ("A) or B)", "ambiguous: A, B"),
        ("The answer is A. No, the answer is C.", "ambiguous: A, C"),
        ("It is B or C", "ambiguous: B, C"),
    ],
)
def test_what_is_no_choice(answer: str, reason: str) -> None:
    for reference in "ABC":
        assert choice(answer, reference).reason == reason
        assert not choice(answer, reference).passed


@pytest.mark.parametrize("letter", ["A", "I"])
def test_letters_that_are_words(letter: str) -> None:
    for answer in (
        letter,
        f"({letter})",
        f"{letter})",
        f"The answer is {letter}.",
        f"The answer is {letter}",
    ):
        assert choice(answer, letter).passed, answer


@pytest.mark.parametrize("reference", ["", "Paris", "Best", "K", "3", "A1"])
def test_a_reference_that_names_no_choice(reference: str) -> None:
    with pytest.raises(UsageError, match="letter from A to J"):
        choice("B", reference)
