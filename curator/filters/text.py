"""What any text must pass, made or imported."""

from collections.abc import Callable, Iterable

from forgetless.curator.filters.contamination import Contaminated
from forgetless.curator.filters.language import Languages
from forgetless.curator.filters.near_duplicates import NearDuplicates
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import TextFilters


class TextJudge:
    """Contamination, language, near-duplicates, in this order; what is not asked for costs nothing."""

    def __init__(
        self, filters: TextFilters, earlier: Callable[[], Iterable[str]] = tuple, distinct: bool = True
    ) -> None:
        """`earlier` gives the texts that later ones must differ from; without `distinct` they need not.

        Raises:
            RecipeError: an evaluation file cannot be read, a language is unknown, an extra is missing.
        """
        self._judges: list[Callable[[str], Rejection | None]] = []
        if filters.contamination:
            self._judges.append(Contaminated(filters.contamination).judge)
        if filters.languages:
            self._judges.append(Languages(filters.languages).judge)
        if distinct and filters.near_duplicate is not None:
            self._judges.append(NearDuplicates(filters.near_duplicate, earlier()).judge)

    def judge(self, text: str) -> Rejection | None:
        """The first refusal, or None; a text that passes is an earlier one for those that follow."""
        for judge in self._judges:
            if rejection := judge(text):
                return rejection
        return None
