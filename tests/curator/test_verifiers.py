"""The registry, and the verifiers that compare text."""

import time
from typing import get_args

import pytest

from forgetless.curator.verifiers.verify import VERIFIERS, verifier
from forgetless.schemas.errors import UsageError
from forgetless.schemas.steps import VerifierName


@pytest.mark.parametrize(
    ("name", "answer", "reference", "passed"),
    [
        ("exact", "  Paris\n", "Paris", True),
        ("exact", "a\u0301 b", "\u00e1  b", True),
        ("exact", "paris", "Paris", False),
        ("exact", "Paris.", "Paris", False),
        ("exact", "", "Paris", False),
        ("regex", "yes, of course", r"^yes\b", True),
        ("regex", "of course, yes", r"^yes\b", False),
        ("regex", "line\nnext", "(?m)^next$", True),
    ],
)
def test_text(name: str, answer: str, reference: str, passed: bool) -> None:
    verdict = verifier(name)(answer, reference)
    assert (verdict.passed, verdict.verifier, verdict.score) == (passed, name, float(passed))
    assert bool(verdict.reason) is not passed


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [("numeric", "none", "holds no number"), ("regex", "(", "no regular expression")],
)
def test_an_unusable_reference_is_a_usage_error(name: str, reference: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        verifier(name)("answer", reference)


def test_a_pattern_that_explodes_hangs_nothing() -> None:
    start = time.monotonic()
    verdict = verifier("regex")("a" * 60 + "!", r"^(a|a|b?a)*$")
    assert not verdict.passed and "takes more than 1 second" in verdict.reason
    assert time.monotonic() - start < 30


def test_a_recipe_may_name_every_verifier() -> None:
    assert set(get_args(VerifierName)) == set(VERIFIERS)


@pytest.mark.parametrize(
    ("name", "hint"), [("numerik", "did you mean 'numeric'"), ("opinion", "use one of choice, code, exact")]
)
def test_unknown_verifiers(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        verifier(name)


def test_programs_run_only_where_that_is_allowed() -> None:
    with pytest.raises(UsageError, match=r"allow_code_execution: true.*--allow-code-execution"):
        verifier("code")
