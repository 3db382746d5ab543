"""Whether a text is in a language that is wanted, by `py3langid`: its model ships with it."""

from difflib import get_close_matches
from functools import cache
from typing import Any

from forgetless.schemas.errors import RecipeError
from forgetless.schemas.outcome import Rejection

SURE = 0.5


class Languages:
    """What is refused is what is another language with a confidence of at least 0.5.

    The detector says nothing with that confidence of one or two words, numbers and most program text: they
    pass. One detector of about 90 MB serves the whole process.
    """

    def __init__(self, wanted: list[str]) -> None:
        """`wanted`: ISO 639-1 codes.

        Raises:
            RecipeError: the extra is not installed, or does not know a code.
        """
        self._detector = _detector()
        known = self._detector.labels
        for code in wanted:
            if code not in known:
                near = get_close_matches(code, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise RecipeError(
                    f"language {code!r} is unknown", f"{hint}known are {', '.join(sorted(known))}"
                )
        self._wanted = frozenset(wanted)

    def judge(self, text: str) -> Rejection | None:
        """A rejection that names the language, scored by the confidence of all wanted ones, or None."""
        ranked = self._detector.rank(text)
        language, confidence = ranked[0]
        if language in self._wanted or confidence < SURE:
            return None
        score = sum(sure for code, sure in ranked if code in self._wanted)
        return Rejection(
            step="language",
            reason=f"is {language} with confidence {confidence:.2f}",
            score=score,
            threshold=SURE,
        )


@cache
def _detector() -> Any:
    """Loaded once: it takes a second."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise RecipeError(
            "`filters.languages` needs py3langid, which is missing", "pip install 'forgetless[language]'"
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
