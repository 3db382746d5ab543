"""Is this answer right? One function per way of comparing an answer with its reference."""

from collections.abc import Callable

from forgetless.curator.verifiers.exact import exact
from forgetless.curator.verifiers.numeric import numeric
from forgetless.curator.verifiers.regex import regex
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

Verifier = Callable[[str, str], Verdict]
"""(answer, reference) → verdict. Raises UsageError where the reference itself cannot be used."""

VERIFIERS: dict[str, Verifier] = {"exact": exact, "numeric": numeric, "regex": regex}


def verify(name: str, answer: str, reference: str) -> Verdict:
    """The verdict of the verifier called `name`."""
    if name not in VERIFIERS:
        raise UsageError(f"there is no verifier {name!r}", f"use one of {', '.join(sorted(VERIFIERS))}")
    return VERIFIERS[name](answer, reference)
