"""Token ids of a finished conversation, and which of them the model is to have written."""

from collections.abc import Sequence
from dataclasses import dataclass

from forgetless.curator.chat.markup import Markup
from forgetless.curator.chat.template import Part
from forgetless.curator.chat.tokens import Encoder
from forgetless.schemas.outcome import Span


@dataclass(frozen=True)
class Conversation:
    """Tokenises the parts of conversations of one chat template."""

    markup: Markup
    encoder: Encoder
    guarded: frozenset[str]
    """Tokens that contents must not turn into."""

    def ids(self, parts: Sequence[Part], tail: str, roles: Sequence[str]) -> tuple[list[int], list[Span]]:
        """Ids of `parts` and the spans of answers; `roles` are the messages', which the parts index.

        An answer's span begins where generation would begin, and takes in the token that ends the turn;
        behind the last answer nothing else is kept.
        """
        ids: list[int] = []
        spans: list[Span] = []
        previous = None
        for part in parts:
            answer, first = roles[part.message] == "assistant", part.message != previous
            if first and previous is not None and roles[previous] == "assistant":
                spans[-1] = Span(start=spans[-1].start, end=len(ids) + self._end(part.markup))
            prompt, rest = self._split(part.markup) if answer and first else (part.markup, "")
            ids += self.encoder.opening(prompt) if previous is None else self.encoder.markup(prompt)
            start = len(ids) if first else spans[-1].start if answer else 0
            if rest.strip():
                ids, rest = ids + self.encoder.markup(rest), ""
            ids += self.encoder.content(rest + part.content, self.guarded)
            if answer:
                spans[len(spans) - (not first) :] = [Span(start=start, end=len(ids))]
            previous = part.message
        return self._close(ids, spans, tail, roles[-1] == "assistant")

    def _split(self, markup: str) -> tuple[str, str]:
        """The markup generation is given, and what the model writes itself: an empty thought, a space."""
        prompt = self.markup.answer
        return (prompt, markup[len(prompt) :]) if markup.startswith(prompt) else (markup, "")

    def _close(
        self, ids: list[int], spans: list[Span], tail: str, answered: bool
    ) -> tuple[list[int], list[Span]]:
        if not answered:
            return ids + self.encoder.markup(tail), spans
        end = self.encoder.markup(tail)[: self._end(tail)]
        if not end and self.markup.assistant_end:  # GLM: only a following user turn would end the answer
            end = [self.encoder.added[self.markup.assistant_end]]
        return ids + end, [*spans[:-1], Span(start=spans[-1].start, end=len(ids) + len(end))]

    def _end(self, markup: str) -> int:
        """How many of the ids of `markup`, which follows an answer, end that answer."""
        ids = self.encoder.markup(markup)
        if token := self.encoder.leading(markup):
            return ids.index(self.encoder.added[token]) + 1
        text = self.markup.assistant_end_text
        if not text or text not in markup:
            return 0
        closing = self.encoder.markup(markup[: markup.index(text) + len(text)])
        return len(closing) if ids[: len(closing)] == closing else 0
