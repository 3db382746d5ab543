"""How a model is asked a question, and where its answer ends."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.curator.chat.format import ChatFormat
from forgetless.curator.chat.tokens import Encoder
from forgetless.curator.models import stop_ids


@dataclass(frozen=True)
class Answer:
    """What a model said to a prompt."""

    token_ids: list[int]
    """Up to the token that ends it, without that; a text that ends it is in."""
    text: str
    """Without what ends it."""
    ended: bool
    """By itself; else it was cut off."""


@dataclass(frozen=True)
class Asking:
    """Prompts as a chat where the tokenizer has a template, else as raw text behind the start token."""

    tokenizer: Any
    start: list[int]
    chat: ChatFormat | None
    end_ids: list[int]
    """Tokens that end an answer or a text."""

    @classmethod
    def of(cls, folder: Path, tokenizer: Any, start_token: str | None = None) -> "Asking":
        """How to ask the model in `folder`; TemplateError where its template cannot be cut."""
        start = list(Encoder.of(tokenizer, start_token).start)
        if not tokenizer.chat_template:
            return cls(tokenizer, start, None, stop_ids(folder, tokenizer))
        chat = ChatFormat.of(tokenizer, start_token)
        return cls(tokenizer, start, chat, sorted({*chat.assistant_stop_ids, *stop_ids(folder, tokenizer)}))

    def ids(self, prompt: str) -> list[int]:
        """Token ids up to where the answer begins."""
        if self.chat:
            return [*self.chat.open_ids(), *self.chat.text_ids(prompt), *self.chat.answer_ids()]
        return [*self.start, *self.tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def answer(self, ids: list[int]) -> "Answer":
        """What a continuation says up to its first end; what follows that is padding."""
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), len(ids))
        ids, text, ended = ids[:end], self._text(ids[:end]), end < len(ids)
        for stop in self.chat.assistant_stop_texts if self.chat else ():
            if stop in text:
                shortest = next(n for n in range(len(ids) + 1) if stop in self._text(ids[:n]))
                ids, text, ended = ids[:shortest], text.partition(stop)[0], True
        return Answer(ids, text, ended)

    def _text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text
