"""Verifiers: what counts as the right answer."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from forgetless.curator.verifiers.numeric import last_number
from forgetless.curator.verifiers.verify import verify
from forgetless.schemas.errors import UsageError

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test_100.jsonl"


@pytest.mark.parametrize(
    ("name", "answer", "reference", "passed"),
    [
        ("exact", "  Paris\n", "Paris", True),
        ("exact", "a\u0301 b", "\u00e1  b", True),
        ("exact", "paris", "Paris", False),
        ("exact", "Paris.", "Paris", False),
        ("exact", "", "Paris", False),
        ("numeric", "So she pays $1,234.50.", "1234.5", True),
        ("numeric", "12 apples and 30 pears make 42.", "6*7=42\n#### 42", True),
        ("numeric", "#### 18", "9 * 2 = $<<9*2=18>>18\n#### 18", True),
        ("numeric", "the answer is -5", "-5", True),
        ("numeric", "the answer is \u22125", "-5", True),
        ("numeric", "7-3", "3", True),
        ("numeric", "1,2", "12", False),
        ("numeric", "42.0", "42", True),
        ("numeric", ".5", "0.5", True),
        ("numeric", "1e3", "1000", True),
        ("numeric", "no idea", "42", False),
        ("regex", "yes, of course", r"^yes\b", True),
        ("regex", "of course, yes", r"^yes\b", False),
    ],
)
def test_verdicts(name: str, answer: str, reference: str, passed: bool) -> None:
    verdict = verify(name, answer, reference)
    assert verdict.passed is passed
    assert verdict.verifier == name
    assert bool(verdict.reason) is not passed


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("numeric", "none", "holds no number"),
        ("regex", "(", "no regular expression"),
        ("judge", "x", "exact, n"),
    ],
)
def test_an_unusable_reference_is_a_usage_error(name: str, reference: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        verify(name, "answer", reference)


def test_gsm8k_answers_end_in_their_marked_number() -> None:
    if not GSM8K.exists():
        pytest.skip("../shared is absent")
    for line in GSM8K.read_text().splitlines():
        answer = json.loads(line)["answer"]
        marked = Decimal(answer.split("#### ")[1].replace(",", ""))
        assert last_number(answer) == marked
        assert verify("numeric", f"I get {marked:,} in the end.", answer).passed
