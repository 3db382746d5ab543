"""Mathematics through math-verify, in a process that may be lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.errors import UsageError

judge = verifier("math")


@pytest.mark.parametrize(
    ("answer", "reference", "passed"),
    [
        (r"$\frac12$", "0.5", True),
        (r"So it is \boxed{\frac{\sqrt{8}}{2}}.", r"\sqrt{2}", True),
        (r"The answer is 2\sqrt{3}.", r"\sqrt{12}", True),
        (r"2\sqrt{3}", "2", False),
        (r"\boxed{x=5}", "5", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"$\{1,2\}$", r"\{2,1\}", True),
        (r"$[0,1)$", "[0,1)", True),
        (r"$[0,1)$", "[0,1]", False),
        ("So it is 42 apples.", "42", True),
        ("1,234", "$1234$", True),
        ("no idea", "5", False),
        ("", "5", False),
        ("__import__('os')._exit(0)", "5", False),
    ],
)
def test_equality(answer: str, reference: str, passed: bool) -> None:
    verdict = judge(answer, reference)
    assert (verdict.passed, verdict.verifier) == (passed, "math")
    assert bool(verdict.reason) is not passed


@pytest.mark.parametrize("reference", ["", "no idea at all", "   "])
def test_a_reference_that_is_no_mathematics(reference: str) -> None:
    with pytest.raises(UsageError, match="is no mathematics"):
        judge("5", reference)


def test_threads_wait_their_turn_and_an_endless_expression_ends() -> None:
    questions = [(f"${n}^2$", str(n * n)) for n in range(20)]
    questions.insert(5, ("$9^{9^{9^{9}}}$", "5"))
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda question: judge(*question), questions))
    failed = [verdict.reason for verdict in verdicts if not verdict.passed]
    assert failed == ["takes more than 3 seconds to compare"]
