"""Is this answer right? One function per way of comparing an answer with its reference."""

from collections.abc import Callable
from difflib import get_close_matches

from forgetless.curator.verifiers.choice import choice
from forgetless.curator.verifiers.code import code
from forgetless.curator.verifiers.exact import exact
from forgetless.curator.verifiers.json_schema import json_schema
from forgetless.curator.verifiers.mathematics import mathematics
from forgetless.curator.verifiers.numeric import numeric
from forgetless.curator.verifiers.refusal import refusal
from forgetless.curator.verifiers.regex import regex
from forgetless.curator.verifiers.sandbox import assert_available
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict
from forgetless.schemas.steps import VerifierName

Verifier = Callable[[str, str], Verdict]
"""(answer, reference) → verdict. Raises UsageError where the reference itself cannot be used. Any thread may call."""

VERIFIERS: dict[VerifierName, Verifier] = {
    "choice": choice,
    "code": code,
    "exact": exact,
    "json": json_schema,
    "math": mathematics,
    "numeric": numeric,
    "refusal": refusal,
    "regex": regex,
}


def verifier(name: str, allow_code_execution: bool = False) -> Verifier:
    """The verifier called `name`.

    Raises:
        UsageError: there is none, or it runs programs, which is not allowed or not safe here.
    """
    for known, function in VERIFIERS.items():
        if name == known:
            if name == "code":
                _assert_may_run(allow_code_execution)
            return function
    near = get_close_matches(name, VERIFIERS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(VERIFIERS)}"
    raise UsageError(f"there is no verifier {name!r}", hint)


def _assert_may_run(allowed: bool) -> None:
    if not allowed:
        way_out = "set `allow_code_execution: true` in the recipe, or give --allow-code-execution"
        raise UsageError("the verifier 'code' runs what the model wrote, which is off", way_out)
    assert_available()
