"""What a model's turn must pass before it becomes part of a record, at one stage of one step."""

from collections.abc import Iterator
from typing import Any

from forgetless.curator.filters import Duplicates, Languages, TextJudge, Turn, content_digest, judge
from forgetless.pipelines.draft import Answer
from forgetless.pipelines.pipeline import Asking
from forgetless.pipelines.set_rows import SetRows
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Filters, TextFilters


class Gate:
    """One start token in front and no other, then form, contamination, language and near-duplicates, then the very same text."""

    def __init__(self, stage: Asking, filters: Filters, rows: SetRows, tokenizer: Any) -> None:
        self._filters, self._finished = filters, stage.finished
        self._start = tokenizer.bos_token_id
        self._texts = TextJudge(filters, lambda: self._earlier(stage, rows, tokenizer), stage.distinct)
        known = rows.turns(stage.name, tokenizer) if filters.deduplicate and stage.distinct else None
        self._duplicates = None if known is None else Duplicates(known)

    def judge(self, answer: Answer) -> Rejection | None:
        """What refuses the turn, or None."""
        if self._start is not None and self._start in answer.ids:
            return Rejection(
                step="start_token", reason="begins another text amid this one", score=1, threshold=0
            )
        turn = Turn(answer.ids, answer.text, answer.finish_reason)
        rejection = judge(turn, self._filters, self._finished) or self._texts.judge(answer.text)
        if not rejection and self._duplicates:
            rejection = self._duplicates.judge(answer.text)
        return rejection

    def _earlier(self, stage: Asking, rows: SetRows, tokenizer: Any) -> Iterator[str]:
        yield from rows.turns(stage.name, tokenizer)
        if self._filters.near_duplicate_of == "store":
            yield from rows.others()


def configuration(filters: TextFilters) -> dict[str, Any]:
    """What a set of rows depends on: of evaluation files their content, not where they lie.

    Raises:
        RecipeError: such a file cannot be read, a language is unknown, an extra is missing.
    """
    if filters.languages:
        Languages(filters.languages)
    settings = filters.model_dump(mode="json")
    if filters.contamination:
        settings["contamination"]["files"] = content_digest(filters.contamination)
    return settings
