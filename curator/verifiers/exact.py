"""The same text, whitespace and Unicode form aside."""

import unicodedata

from forgetless.schemas.outcome import Verdict


def normalised(text: str) -> str:
    """NFC, whitespace as single spaces. Case and punctuation stay: they can be the task."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def exact(answer: str, reference: str) -> Verdict:
    """Passes where the normalised answer is the normalised reference."""
    said, wanted = normalised(answer), normalised(reference)
    passed = said == wanted
    return Verdict(
        verifier="exact",
        passed=passed,
        score=float(passed),
        reason="" if passed else f"{said!r} is not {wanted!r}",
    )
