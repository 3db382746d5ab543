"""Numbers as people and models write them, and GSM8K's."""

import json
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from forgetless.curator.verifiers.verify import verifier

numeric = verifier("numeric")


@pytest.mark.parametrize(
    "answer",
    [
        "1,234", "$1,234.00", "1234.0", "**1234**", r"\boxed{1234}", "1234", "1234.", r"$\boxed{1{,}234}$",
        r"\boxed{\$1,234}", "€1,234", "1,234 apples", "She has 7 + 1227 = **1,234** in the end.", "1.234e3",
        "#### 1,234", "#### $1234 in 3 days", "#### 7 + 1227 = 1234", "####1234\n", r"1\,234", "1 234".replace(" ", "\u202f"),
        r"so \boxed{\text{1234 km}}, as 3 shows", "2468/2", "= USD 1234", "+1234",
    ],
)  # fmt: skip
def test_many_ways_to_write_a_number(answer: str) -> None:
    assert numeric(answer, "1234").passed
    assert numeric("1234", answer).passed
    assert not numeric(answer, "1235").passed


@pytest.mark.parametrize(
    ("answer", "reference", "passed"),
    [
        ("So she pays $1,234.50.", "1234.5", True),
        ("12 apples and 30 pears make 42.", "6*7=42\n#### 42", True),
        ("#### 18", "9 * 2 = $<<9*2=18>>18\n#### 18", True),
        ("the answer is -5", "-5", True),
        ("the answer is \u22125", "-5", True),
        ("-$5", "-5", True),
        ("$-5", "-5", True),
        ("**-5**", "-5", True),
        ("7-3", "3", True),
        ("5", "-5", False),
        ("1,2", "12", False),
        (".5", "0.5", True),
        ("1/2", "0.5", True),
        ("1 1/2 hours", "1.5", True),
        (r"$1\frac{1}{2}$", "1.5", True),
        (r"\boxed{\dfrac{3}{4}}", "0.75", True),
        (r"\frac34", "0.75", True),
        ("2½", "2.5", True),
        ("1/3", "0.33", False),
        (r"-\frac{1}{2}", "-0.5", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        (r"\boxed{50\%}", "50", True),
        ("50 percent", "1/2", True),
        ("50", "0.5", False),
        ("5/0", "7", False),
        ("#### Step 1: add\n40 + 2 = 42", "42", True),
        ("no idea", "42", False),
        ("", "42", False),
        ("9" * 100_000, "42", False),
        ("1e999", "42", False),
    ],
)
def test_numbers(answer: str, reference: str, passed: bool) -> None:
    verdict = numeric(answer, reference)
    assert verdict.passed is passed
    assert bool(verdict.reason) is not passed and len(verdict.reason) < 2000


def test_reasons_show_both_numbers() -> None:
    assert numeric("$1,234.50", "12%").reason == "1234.5 is not 12%"
    assert numeric("1/3", "#### 5").reason == "1/3 is not 5"
    assert numeric("none", "5").reason == "no number in the answer"


def test_every_gsm8k_answer_is_itself_and_no_other(shared: Path) -> None:
    lines = (shared / "gsm8k" / "train_1000.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert len(answers) == 1000
    by_value: dict[Fraction, str] = {}
    for answer in answers:
        number = answer.split("#### ")[1]
        assert numeric(answer, answer).passed
        assert numeric(f"I get **${number}** in the end.", answer).passed
        assert numeric(f"Hence \\boxed{{{number}}}.", answer).passed
        by_value.setdefault(Fraction(number.replace(",", "")), answer)
    for one, other in pairwise(answers):
        same = one.split("#### ")[1] == other.split("#### ")[1]
        assert numeric(one, other).passed is same
    marked = [answer[answer.index("####") :] for answer in by_value.values()]
    assert len(marked) == 280
    assert not any(numeric(one, other).passed for one, other in combinations(marked, 2))
