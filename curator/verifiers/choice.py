"""Multiple choice: the same letter, A to J."""

import re

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

_REFERENCE = re.compile(r"\W*([A-Ja-j])(?:\W.*)?", re.DOTALL)
_OPEN, _CLOSE = r"[\s*_(\[{$\"']*", r"(?![\w'\u2019])"
_BOXED = re.compile(r"\\boxed\s*\{\W*(?:\\?text\w*\s*\{)?\W*([A-Ja-j])" + _CLOSE)
_STATED = re.compile(
    r"(?:\b(?:answer|choice|option|solution)\b(?:\s+(?:is|would\s+be|must\s+be|should\s+be))?\s*[:=]?"
    r"|\b(?:choose|chose|pick|select)\b)"
    rf"(?:[\s*_]*\b(?:option|choice|letter|answer)\b)?{_OPEN}(?P<letter>[A-J]){_CLOSE}",
    re.IGNORECASE,
)
_MARKED = re.compile(
    r"[(\[]\s*([A-Ja-j])\s*[)\]]|(?<![\w(\['\u2019.])([A-J])(?:\)|\.(?=\s|$)|:)|\*\*\s*([A-J])\s*\*\*"
)
_BARE = re.compile(r"(?<![\w'\u2019.-])([B-HJ])(?![\w'\u2019-])")
_ARTICLE = re.compile(r"\s+(?!because|since|as\b|which|for\b|and\b|or\b|is\b|but\b)[a-z]")
"""What follows the article A, or the pronoun I, and does not follow a letter that answers."""


def letters(answer: str) -> set[str]:
    """The letters an answer settles on, by the clearest sign there is.

    In this order: `\\boxed{B}`; "the answer is B", "option B"; nothing but a letter; "(B)", "B)", "B.", "**B**";
    a capital on its own, which A and I are not: they are words.
    """
    text = answer.strip()
    if boxed := _BOXED.findall(text):
        return {boxed[-1].upper()}
    if stated := {found["letter"].upper() for found in _STATED.finditer(text) if _is_letter(found, text)}:
        return stated
    if alone := re.fullmatch(r"\W*([A-Ja-j])\W*", text):
        return {alone[1].upper()}
    marked = {letter.upper() for found in _MARKED.findall(text) for letter in found if letter}
    return marked or set(_BARE.findall(text))


def _is_letter(found: re.Match[str], text: str) -> bool:
    """The answer is a dog; the answer is A; the answer is b."""
    letter = found["letter"]
    follows = text[found.end() :]
    bracketed = found[0][-2:-1] in "([*" and follows[:1] in ")]*"
    if letter.islower() and not bracketed:
        return re.match(r"\s*(?:[.,;!)]|$)", follows) is not None
    return bracketed or letter not in "AI" or _ARTICLE.match(follows) is None


def choice(answer: str, reference: str) -> Verdict:
    """Passes where the answer settles on one letter, the reference's: `B`, `(B)` or `B) Paris`."""
    wanted = _REFERENCE.fullmatch(reference)
    if wanted is None:
        raise UsageError(f"the reference {reference!r} names no choice", "write a letter from A to J")
    said = letters(answer)
    passed = said == {wanted[1].upper()}
    if passed:
        reason = ""
    elif len(said) > 1:
        reason = f"ambiguous: {', '.join(sorted(said))}"
    else:
        reason = f"{said.pop()} is not {wanted[1].upper()}" if said else "no choice in the answer"
    return Verdict(verifier="choice", passed=passed, score=float(passed), reason=reason)
