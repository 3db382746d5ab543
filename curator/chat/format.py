"""Everything that generation and training need to know about a chat template, as text and as token ids.

Ids are made piece by piece: markup, content, markup, each tokenised alone. That is what generation does, as a
content is sampled behind the ids of the markup before it: the engine is fed the same ids that an imported
conversation gets. Special tokens split text anyway; where a template's markup ends in ordinary text, a
conversation tokenised whole might merge across the seam, and a warning says so.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from forgetless.curator.chat.cautions import cautions
from forgetless.curator.chat.conversation import Conversation
from forgetless.curator.chat.markup import Markup, System
from forgetless.curator.chat.template import ChatTemplate
from forgetless.curator.chat.tokens import Encoder, start_ids
from forgetless.curator.models import stop_ids
from forgetless.schemas.errors import TemplateError
from forgetless.schemas.outcome import Span
from forgetless.schemas.request import Message

__all__ = ["ChatFormat", "describe", "start_ids"]

PLACEHOLDER = "{system text}"
"""Stands for the system text in reports."""


@dataclass(frozen=True)
class ChatFormat:
    """A tokenizer's chat template, cut into pieces."""

    pre_query: str
    """Up to where a user message would begin (Magpie), start token included."""
    pre_query_ids: list[int]
    """Its ids, exactly one start token first where the tokenizer has or the recipe declares one."""
    pre_query_with_system: str | None
    """The same behind a system text, for which `{system text}` stands; null where there can be none."""
    system: System
    """What becomes of a system text."""
    supports_system: bool
    """A system text reaches the model."""
    default_system: str | None
    """What the template says of its own accord where no system text is given."""
    generation_prompt: str
    """What `add_generation_prompt` adds."""
    user_close: str
    """From the end of a user's content to the beginning of the answer."""
    next_user: str
    """From the end of an answer to the next user content."""
    bos: str | None
    """Text of the token every sequence begins with: BOS, or the recipe's start token where there is none."""
    bos_id: int | None
    """Its id."""
    user_stop_ids: list[int]
    """Tokens that end a user's turn."""
    user_stop_texts: list[str]
    """Texts that do, where no single token does."""
    assistant_stop_ids: list[int]
    """Tokens that end an answer."""
    assistant_stop_texts: list[str]
    """Texts that do, where no single token does."""
    stop_tokens: list[str]
    """All stop ids as text, the turn ends first."""
    warnings: list[str]
    """What to know before data is made with this template."""
    template: ChatTemplate = field(repr=False)
    markup: Markup = field(repr=False)
    encoder: Encoder = field(repr=False)

    @classmethod
    def of(cls, tokenizer: Any, start_token: str | None = None) -> "ChatFormat":
        """Derive the format from the tokenizer's chat template by rendering probes.

        Raises:
            TemplateError: there is no template, or it cannot be cut; the message says why.
            RecipeError: `start_token` is no token, or contradicts the tokenizer's BOS.
        """
        encoder = Encoder.of(tokenizer, start_token)
        tokens = dict(tokenizer.special_tokens_map)
        if start_token is not None:
            tokens["bos_token"] = start_token
        template = ChatTemplate.of(_source(tokenizer), tokens)
        markup = Markup.of(template, encoder.leading)
        ends = stop_ids(Path(tokenizer.name_or_path), tokenizer)
        user_end, assistant_end = (
            [encoder.added[end]] if end else [] for end in (markup.user_end, markup.assistant_end)
        )
        return cls(
            **_texts(markup, tokenizer.convert_ids_to_tokens(list(encoder.start))),
            pre_query_ids=encoder.opening(markup.open),
            bos_id=next(iter(encoder.start), None),
            user_stop_ids=_unique(user_end, ends),
            assistant_stop_ids=_unique(assistant_end, ends),
            stop_tokens=tokenizer.convert_ids_to_tokens(_unique(user_end, assistant_end, ends)),
            warnings=[*_start_warnings(encoder, markup, start_token, ends), *cautions(template, markup)],
            template=template, markup=markup, encoder=encoder,
        )  # fmt: skip

    def open_ids(self, system: str | None = None) -> list[int]:
        """From the start token to the first user content, `system` before it if given.

        Raises:
            TemplateError: the template has no place for a system text.
        """
        if system is None:
            return list(self.pre_query_ids)
        if not self.supports_system:
            raise TemplateError(
                f"the chat template has no place for a system text: it is {self.system}", "omit it"
            )
        return [
            *self.encoder.opening(self.markup.system_open),
            *self.text_ids(system),
            *self.encoder.markup(self.markup.system_close),
        ]

    def answer_ids(self) -> list[int]:
        """From the end of a user's content to the beginning of the answer; begins with the turn's end."""
        return self.encoder.markup(self.markup.answer)

    def next_user_ids(self) -> list[int]:
        """From the end of an answer to the beginning of the next user content; begins with the turn's end."""
        return self.encoder.markup(self.markup.next_user)

    def text_ids(self, text: str) -> list[int]:
        """Ids of a content. What is spelled like a special token stays ordinary text (`Encoder.content`)."""
        return self.encoder.content(text, self._guarded)

    def render(self, messages: list[Message]) -> tuple[list[int], list[Span]]:
        """Ids of a finished conversation, and the spans of its answers.

        A span is what the model would have sampled: it begins behind the generation prompt (so an empty
        thought that the template writes is in it) and includes the token that ends the turn. The ids end
        there, without the newline or second end token that templates add; up to there, the pieces are what
        `apply_chat_template` writes.

        Raises:
            TemplateError: the template refuses or rewrites this conversation.
        """
        if not messages:
            raise TemplateError("a conversation without messages cannot be rendered", "give at least one")
        parts, tail = self.template.cut(messages)
        conversation = Conversation(self.markup, self.encoder, self._guarded)
        return conversation.ids(parts, tail, [message.role for message in messages])

    @property
    def _guarded(self) -> frozenset[str]:
        return frozenset({self.markup.user_end, self.markup.assistant_end} - {""})

    def report(self) -> dict[str, Any]:
        """All of it as JSON-ready values."""
        hidden = ("template", "markup", "encoder")
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in hidden}


def describe(source: str, start_token: str | None = None) -> dict[str, Any]:
    """What a template alone tells, without a tokenizer: the texts of `ChatFormat.report`, ids left out.

    `{bos_token}` and `{eos_token}` stand for the tokenizer's; what looks like a token, `<…>`, counts as one.
    """
    bos = start_token or "{bos_token}"
    template = ChatTemplate.of(source, {"bos_token": bos, "eos_token": "{eos_token}"})
    markup = Markup.of(template, _looks_like_token)
    known = start_token is not None or bos in markup.open
    ends = [end for end in (markup.user_end, markup.assistant_end) if end]
    return {
        **_texts(markup, [start_token] if start_token is not None else []),
        "bos": bos if known else None,
        "stop_tokens": list(dict.fromkeys(ends)),
        "warnings": [
            "no tokenizer: no ids, {bos_token} and {eos_token} stand for its own, <…> is taken for a token",
            *cautions(template, markup),
        ],
    }


def _source(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except (ValueError, AttributeError):
        raise TemplateError(
            "the tokenizer has no chat template",
            "give a Jinja file with `model.chat_template`, or make BOS replay, which needs none",
        ) from None


def _texts(markup: Markup, start: list[str]) -> dict[str, Any]:
    """The fields that need no ids; `start` is the start token's text, alone in a list, or nothing."""
    bos = "".join(start)
    has_system = markup.system in ("turn", "folded")
    with_system = bos + markup.system_open.removeprefix(bos) + PLACEHOLDER + markup.system_close
    return {
        "pre_query": bos + markup.open.removeprefix(bos),
        "pre_query_with_system": with_system if has_system else None,
        "system": markup.system,
        "supports_system": has_system,
        "default_system": markup.default_system,
        "generation_prompt": markup.generation_prompt,
        "user_close": markup.answer,
        "next_user": markup.next_user,
        "bos": bos or None,
        "user_stop_texts": [markup.user_end_text] if markup.user_end_text else [],
        "assistant_stop_texts": [markup.assistant_end_text] if markup.assistant_end_text else [],
    }


def _looks_like_token(markup: str) -> str:
    found = re.match(r"\s*(<[^<>\s]+>|\{eos_token\})", markup)
    return found[1] if found else ""


def _start_warnings(encoder: Encoder, markup: Markup, start_token: str | None, ends: list[int]) -> list[str]:
    """What there is to say about the start token and about seams between markup and content."""
    said = []
    if not encoder.start:
        said.append(
            "the tokenizer has no BOS: nothing is put before conversations; BOS replay needs a start token"
        )
    elif start_token is not None and encoder.tokenizer.bos_token is None:
        said.append(
            f"the start token {start_token!r} is put before conversations too, where a chat server adds none"
        )
    if set(encoder.start) & set(ends):
        said.append("the start token is also an end token")
    words = "What now?"
    whole = encoder.opening(markup.open + words + markup.answer)
    pieces = encoder.opening(markup.open) + encoder.content(words) + encoder.markup(markup.answer)
    if whole != pieces:
        said.append("a conversation tokenised whole has other ids than its pieces: markup and content merge")
    return said


def _unique(*ids: list[int]) -> list[int]:
    return list(dict.fromkeys(index for some in ids for index in some))
