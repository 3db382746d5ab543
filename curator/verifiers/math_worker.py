"""The process in which `mathematics.py` lets math-verify work: a line [answer, reference] in, a verdict out."""

import json
import re
import resource
import signal
import sys
from typing import Any

CPU_SECONDS = 3
"""For one comparison; in processor time, so that a busy machine fails nobody."""
MEMORY_BYTES = 1 << 32
_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed|\\begin\{(?:equation|align|math)")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[ ,]+[A-Za-z]{2,}")
_LAST_CLAUSE = re.compile(r"\bis\b|[:\n]")


def main() -> None:
    """Answer until stdin closes. A comparison that takes too long ends the process, by SIGPROF."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        answer, reference = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        said = judge(answer, reference)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
        sys.stdout.buffer.flush()


def judge(answer: str, reference: str) -> dict[str, Any]:
    """{passed, reason}, or {unusable}."""
    from math_verify import verify

    wanted = parsed(reference)
    if not wanted or (_PROSE.search(reference) and not _DELIMITED.search(reference)):
        return {"unusable": True}
    said = parsed(answer)
    if not said:
        return {"passed": False, "reason": "no mathematics in the answer"}
    passed = bool(verify(wanted, said, timeout_seconds=None))
    return {"passed": passed, "reason": "" if passed else f"{said[-1]} is not {wanted[-1]}"}


def parsed(text: str) -> list[Any]:
    """What math-verify reads in a text: the expression, then its source; [] if there is none.

    It looks for LaTeX between delimiters and for plain numbers, and would find a 2 in a bare 2\\sqrt{3}: LaTeX
    without delimiters gets them, which in prose means what follows the last "is" or colon.
    """
    from math_verify import parse

    if not _DELIMITED.search(text):
        bare = _LAST_CLAUSE.split(text.strip())[-1].strip().rstrip(".") if "\\" in text else text.strip()
        if bare and not _PROSE.search(bare):
            text = f"${bare}$"
    found: list[Any] = parse(text, parsing_timeout=None)
    return found


if __name__ == "__main__":
    main()
