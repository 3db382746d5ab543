"""The answer is a Python program, the reference its tests. It runs in a jail, and only where that is allowed.

MBPP: the reference is the problem's set-up code and its asserts, one under another. HumanEval: the problem's
`test`, which defines `check`, with the call `check(<entry point>)` as its last line.
"""

import ast
import re
import textwrap

from forgetless.curator.verifiers.sandbox import run_tests
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

_FENCED = r"^[ \t]*```[ \t]*{}[ \t]*\r?\n(.*?)(?:^[ \t]*```|\Z)"
_BLOCKS = [
    re.compile(_FENCED.format(label), re.MULTILINE | re.DOTALL | re.IGNORECASE)
    for label in (r"(?:python3?|py)\b[^\n]*", "")
]


def program(answer: str) -> str:
    """The first fenced block of Python, else the first without a language, else all of the answer."""
    for block in _BLOCKS:
        if found := block.search(answer):
            return textwrap.dedent(found[1])
    return answer


def code(answer: str, reference: str) -> Verdict:
    """Passes where the answer's program, and then the tests, run to the end without an error."""
    _assert_tests(reference)
    source = program(answer)
    passed, reason = run_tests(source, reference) if source.strip() else (False, "no program in the answer")
    return Verdict(verifier="code", passed=passed, score=float(passed), reason=reason)


def _assert_tests(reference: str) -> None:
    """Tests that test nothing would let everything pass."""
    try:
        statements = ast.parse(reference).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"the reference is no Python: {error}", "write asserts, one under another") from None
    idle = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    if not any(not isinstance(statement, idle) for statement in statements):
        way_out = "write asserts; where it defines check(candidate), end it with the call check(<function>)"
        raise UsageError(f"the reference {textwrap.shorten(reference, 60)!r} runs no test", way_out)
