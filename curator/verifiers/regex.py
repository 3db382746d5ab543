"""The reference is a pattern that must be found in the answer."""

import re

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict


def regex(answer: str, reference: str) -> Verdict:
    """Passes where the pattern `reference` is found anywhere in the answer; anchor it to match all."""
    try:
        found = re.search(reference, answer)
    except re.error as error:
        raise UsageError(f"the reference {reference!r} is no regular expression: {error}") from error
    passed = found is not None
    return Verdict(
        verifier="regex",
        passed=passed,
        score=float(passed),
        reason="" if passed else f"{reference!r} is not in the answer",
    )
