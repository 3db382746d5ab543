"""The same number at the end, as GSM8K is marked."""

import re
from decimal import Decimal

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

_NUMBER = re.compile(
    r"""(?:(?<![\w.)])-\s?)?                     # a sign only where no number or word stands before: 7-3
        \$?
        (?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))   # 1,234 or 1234 or nothing before the point
        (?:\.\d+)?
        (?:[eE][+-]?\d{1,3}(?!\w))?""",
    re.VERBOSE,
)
_ANSWER_MARK = "####"


def last_number(text: str) -> Decimal | None:
    """The last number after the last `####`, else the last number: `$1,234.50 each` is 1234.50."""
    text = text.replace("\u2212", "-")
    for part in (text.rpartition(_ANSWER_MARK)[2], text):
        numbers = _NUMBER.findall(part)
        if numbers:
            return Decimal(re.sub(r"[$,\s]", "", numbers[-1]))
    return None


def numeric(answer: str, reference: str) -> Verdict:
    """Passes where both end in the same number."""
    wanted = last_number(reference)
    if wanted is None:
        raise UsageError(f"the reference {reference!r} holds no number", "use the verifier exact or regex")
    said = last_number(answer)
    passed = said == wanted
    reason = "" if passed else "no number in the answer" if said is None else f"{said} is not {wanted}"
    return Verdict(verifier="numeric", passed=passed, score=float(passed), reason=reason)
