"""The reference is a pattern that must be found in the answer."""

import regex as patterns

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

SECONDS = 1.0
"""Of processor time for one search: some patterns take exponential time on some texts."""


def regex(answer: str, reference: str) -> Verdict:
    """Passes where the pattern `reference` is found anywhere in the answer; anchor it to match all."""
    try:
        found = patterns.search(reference, answer, timeout=SECONDS) is not None
        reason = "" if found else f"{reference!r} is not in the answer"
    except patterns.error as error:
        raise UsageError(
            f"the reference {reference!r} is no regular expression: {error}", "escape what is meant literally"
        ) from error
    except TimeoutError:
        found, reason = False, f"{reference!r} takes more than {SECONDS:g} second on this answer"
    return Verdict(verifier="regex", passed=found, score=float(found), reason=reason)
