"""A model that writes: how it is asked, and how its answer is read."""

from functools import cached_property
from pathlib import Path
from typing import Any

from forgetless.curator.chat.format import ChatFormat
from forgetless.curator.engines.keys import key_of
from forgetless.curator.models import (
    load_tokenizer,
    model_fingerprint,
    resolve_model,
    stop_ids,
    tokenizer_fingerprint,
)
from forgetless.pipelines.draft import Answer, Ask
from forgetless.schemas.base import digest
from forgetless.schemas.model import AnyEngine, Endpoint, Model
from forgetless.schemas.request import Message, Result, Sampling


class Author:
    """A model and what runs it. Without a folder of its own it is asked by messages, not by token ids."""

    def __init__(self, model: Model | None, engine: AnyEngine, name: str = "model") -> None:
        """`name` is what the recipe calls it."""
        self.name = name
        self.settings = model
        self.engine = engine
        if isinstance(engine, Endpoint):
            key_of(engine)  # or it is missed here, not hours later
        self.folder: Path | None = resolve_model(model) if model else None

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with its own chat template or the recipe's; None where there is no folder."""
        if self.settings is None or self.folder is None:
            return None
        return load_tokenizer(self.folder, self.settings.chat_template, self.settings.trust_remote_code)

    @cached_property
    def model(self) -> str:
        """Fingerprint of the weights; of a server's model, of its name."""
        if self.folder is not None:
            return model_fingerprint(self.folder)
        assert isinstance(self.engine, Endpoint)
        return digest("endpoint", self.engine.model)

    @cached_property
    def vocabulary(self) -> str | None:
        """Fingerprint of the tokenizer."""
        return tokenizer_fingerprint(self.tokenizer) if self.folder is not None else None

    @cached_property
    def chat(self) -> ChatFormat:
        """The chat template, cut. A declared start token is for raw text: no chat server puts it there."""
        return ChatFormat.of(self.tokenizer)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end a text."""
        assert self.folder is not None
        return stop_ids(self.folder, self.tokenizer)

    def signature(self) -> dict[str, Any]:
        """What everything it writes depends on, for a step's configuration."""
        engine = self.engine
        how = {"kind": engine.kind, "model": engine.model} if isinstance(engine, Endpoint) else {
            "kind": engine.kind, "dtype": engine.dtype, "max_model_len": engine.max_model_len,
        }  # fmt: skip
        return {"model": self.model, "vocabulary": self.vocabulary, "engine": how}

    def template(self) -> str | None:
        """Digest of the chat template's text."""
        return digest(self.tokenizer.chat_template) if self.folder is not None else None

    def ask(self, messages: list[Message], sampling: Sampling) -> Ask:
        """For its answer to a conversation that ends with a user's turn."""
        if self.folder is None:
            return Ask([], sampling, [], messages=messages)
        chat = self.chat
        if [message.role for message in messages] == ["user"]:
            ids = chat.open_ids() + chat.text_ids(messages[0].content) + chat.answer_ids()
        else:
            ids, spans = chat.render([*messages, Message(role="assistant", content="…")])
            ids = ids[: spans[-1].start]
        return self.continued(ids, sampling)

    def continued(self, prompt_ids: list[int], sampling: Sampling) -> Ask:
        """For what it writes behind `prompt_ids`, up to the end of an answer, or of a text without a template."""
        if not self.tokenizer.chat_template:
            return Ask(prompt_ids, sampling, self.stop_ids)
        return Ask(prompt_ids, sampling, self.chat.assistant_stop_ids, self.chat.assistant_stop_texts)

    def read(self, result: Result, ask: Ask, own: bool) -> Answer:
        """A result as it was sampled; `own` says that the record's prefix is the one it was sampled behind."""
        ids = result.token_ids
        logprobs: list[float | None] = list(result.logprobs) if own and result.logprobs else [None] * len(ids)
        end = self._end(ids, ask) if result.finish_reason == "stop" else len(ids)
        return Answer(
            ids[:end], logprobs[:end], ids[end:], logprobs[end:],
            self.tokenizer.decode(ids[:end], skip_special_tokens=True), result.finish_reason,
        )  # fmt: skip

    def text(self, result: Result, ask: Ask) -> str:
        """What was written, without the end of the turn."""
        if self.folder is None or not result.token_ids:
            return (result.text or "").encode(errors="replace").decode()  # JSON can spell half a character
        return self.read(result, ask, own=False).text

    def _end(self, ids: list[int], ask: Ask) -> int:
        """Where the stop token, or the tokens that spell a stop text, begin."""
        end = len(ids)
        if ids and ids[-1] in ask.stop_ids:
            return end - 1
        text = self.tokenizer.decode(ids)
        begins = min((text.find(stop) for stop in ask.stop_texts if stop in text), default=len(text))
        while end and len(self.tokenizer.decode(ids[:end])) > begins:
            end -= 1
        return end
