"""What pipelines work with: the recipe, its base model, and the other models it names."""

from functools import cached_property
from pathlib import Path
from typing import Any

from forgetless.curator.models import tokenizer_fingerprint
from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.model import Model
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.request import Message, Result


class Material(Author):
    """The recipe's base model, in whose vocabulary all records are, as far as it need not run."""

    settings: Model
    folder: Path

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.model, recipe.engine)
        self.recipe = recipe
        self._authors: dict[str, Author] = {}

    def author(self, name: str | None) -> Author:
        """The writer that the recipe calls `name`; the base model where it is None."""
        if name is None:
            return self
        if name not in self._authors:
            writer = self.recipe.writers[name]
            self._authors[name] = Author(writer.model, writer.engine, name)
        return self._authors[name]

    def replayer(self, name: str | None) -> Author:
        """As `author`, of one whose ids are records as they are: it has the base model's vocabulary and template.

        Raises:
            RecipeError: it has others.
        """
        author = self.author(name)
        for what, its, ours, way_out in (
            ("vocabulary", author.vocabulary, self.vocabulary,
             "name a checkpoint that was tuned from that model; others can answer your prompts as a `teacher`"),
            ("chat template", author.template(), self.template(),
             f"give both the same Jinja file: `model.chat_template` and `writers.{name}.model.chat_template`"),
        ):  # fmt: skip
            if its != ours:
                said = f"`writer: {name}` has another {what} than the recipe's model, which learns its ids as they are"
                raise RecipeError(said, way_out)
        return author

    @cached_property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer."""
        return tokenizer_fingerprint(self.tokenizer)

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        trust = self.settings.trust_remote_code
        return AutoConfig.from_pretrained(self.folder, trust_remote_code=trust).get_text_config()

    @property
    def limit(self) -> int:
        """Longest text the model takes, in tokens."""
        return int(getattr(self._config, "max_position_embeddings", None) or 1 << 30)

    @property
    def vocabulary_size(self) -> int:
        """Ids the model knows, from 0."""
        return int(self._config.vocab_size)

    def answer(self, result: Result, ask: Ask, draft: Draft, author: Author) -> Answer:
        """What `author` answered, in ids of the base model's vocabulary.

        Another vocabulary's ids, and texts that a server gives without ids, are tokenised again.
        """
        if author is self or ask.verbatim:
            return author.read(result, ask, ask.prompt_ids == draft.token_ids)
        ended = result.finish_reason == "stop"
        if result.token_ids and author.vocabulary == self.vocabulary:
            answer = author.read(result, ask, ask.prompt_ids == draft.token_ids)
            if not ended or answer.end_ids == self.end_ids:
                return answer
            ids, logprobs, text, sampled = answer.ids, answer.logprobs, answer.text, True
        else:
            text = author.text(result, ask)
            ids, sampled = self.text_ids(text), False
            logprobs = [None] * len(ids)
        end = self.end_ids if ended else []
        return Answer(ids, logprobs, end, [None] * len(end), text, result.finish_reason, sampled)

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text inside a record; what is spelled like a special token stays ordinary text."""
        if self.tokenizer.chat_template:
            return self.chat.text_ids(text)
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    @cached_property
    def end_ids(self) -> list[int]:
        """What ends an answer, or a text where there is no chat template."""
        if not self.tokenizer.chat_template:
            return [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        asked = Message(role="user", content="?")
        ids, spans = self.chat.render([asked, Message(role="assistant", content="!")])
        content = self.chat.text_ids("!")
        last = max(i for i in range(spans[-1].start, len(ids)) if ids[i : i + len(content)] == content)
        return ids[last + len(content) :]
