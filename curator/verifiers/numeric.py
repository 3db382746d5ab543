"""The same number at the end, as GSM8K is marked."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?"  # 1,234 or 1234 or nothing before the point
_NUMBER = re.compile(
    rf"""(?P<sign>(?<![\w.)])[-+]\s?)?             # only where no number or word stands before: 7-3
        (?:[$€£¥₹]\s?(?P<inner>-(?=[\d.]))?)?     # -$5, $-5
        (?:(?P<whole>\d+)[ ](?=\d+[ ]?/[ ]?\d))?  # 1 1/2
        (?P<number>{_DIGITS}(?:[eE][+-]?\d{{1,3}}(?!\w))?)
        (?:[ ]?/[ ]?(?P<under>{_DIGITS}))?
        (?P<percent>\s?(?:%|percent\b|per\scent\b))?""",
    re.VERBOSE,
)
LONGEST = 100
"""Characters of a number; arithmetic with a runaway string of digits would take for ever."""
_MARK = "####"
_MARKED = re.compile(r"[\s*_`$\\(\[{:]*(?:boxed\{)?[-+€£¥₹$]*\.?\d")
"""What follows the mark of GSM8K, and does not follow a Markdown heading of four."""
_LATEX = [
    (re.compile(r"(\d)\s*\\[dt]?frac"), r"\1 \\frac"),
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\{,\}|\\[,!;: ](?=\d)|(?<=\d)[\u00a0\u2009\u202f](?=\d{3})"), ""),
    (re.compile(r"\\(?=[$%])|\*\*|__"), ""),
]
_SIGNS = {"\u2212": "-", "\u2044": "/", "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
_SIGN_TABLE = str.maketrans(_SIGNS)


class Figure(NamedTuple):
    """A number as it was written."""

    value: Fraction
    percent: bool


def stated(text: str) -> Figure | None:
    """The number a text states: after its last `####`, else in its last `\\boxed{}`, else its last number.

    Currency signs, thousands separators, units and Markdown around it do not matter; `3/4`, `1 1/2` and
    `\\frac{3}{4}` are fractions. After the mark it is the first number, or the first behind an equals sign.
    """
    _, mark, rest = text.rpartition(_MARK)
    if mark and _MARKED.match(rest):
        line = rest.strip().splitlines()[0]
        if figures := _figures(line.rpartition("=")[2]) or _figures(line):
            return figures[0]
    figures = _figures(_boxed(text)) or _figures(text)
    return figures[-1] if figures else None


def _boxed(text: str) -> str:
    """What stands in the last `\\boxed{…}`, braces balanced."""
    _, mark, rest = text.rpartition("\\boxed{")
    depth = 1
    for end, character in enumerate(rest if mark else ""):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:end]
    return ""


def _figures(text: str) -> list[Figure]:
    """Every number in a text, in order."""
    text = text.translate(_SIGN_TABLE)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return [_figure(found) for found in _NUMBER.finditer(text) if len(found[0]) <= LONGEST]


def _figure(found: re.Match[str]) -> Figure:
    value, under = _fraction(found["number"]), _fraction(found["under"] or "1")
    value = Fraction(found["whole"] or 0) + value / under if under else value
    negative = (found["sign"] or "").startswith("-") != bool(found["inner"])
    return Figure(-value if negative else value, bool(found["percent"]))


def _fraction(digits: str) -> Fraction:
    return Fraction(Decimal(digits.replace(",", "")))


def numeric(answer: str, reference: str) -> Verdict:
    """Passes where both state the same number. 50% is 50, a percent sign being a unit, and is 0.5 as well."""
    wanted = stated(reference)
    if wanted is None:
        raise UsageError(f"the reference {reference!r} holds no number", "use the verifier exact or regex")
    said = stated(answer)
    passed = said is not None and _same(said, wanted)
    reason = ""
    if not passed:
        reason = f"{_shown(said)} is not {_shown(wanted)}" if said else "no number in the answer"
    return Verdict(verifier="numeric", passed=passed, score=float(passed), reason=reason)


def _same(said: Figure, wanted: Figure) -> bool:
    if said.value == wanted.value:
        return True
    share, whole = (said, wanted) if said.percent else (wanted, said)
    return share.percent and not whole.percent and share.value == 100 * whole.value


def _shown(figure: Figure) -> str:
    value = figure.value
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{exact:f}{'%' if figure.percent else ''}" if Fraction(exact) == value else str(value)
