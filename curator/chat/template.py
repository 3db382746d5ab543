"""Rendering a chat template in jinja's sandbox, and cutting what it writes into markup and contents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from forgetless.schemas.errors import TemplateError
from forgetless.schemas.request import Message

DATE = datetime(2024, 7, 26)
"""What `strftime_now` tells: Llama 3.1's own default, so that the same recipe gives the same ids tomorrow."""

_PROBE = "qxProbe{}zq"
_THINKING = re.compile(r"(\s*(?:<think>)?\s*)(.*?)(\s*</think>\s*)(.*?)(\s*)", re.DOTALL)
_OTHER_FAILURES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Part:
    """A stretch of markup and the content behind it, both exactly as the template writes them."""

    markup: str
    content: str
    message: int
    """Index of the message the content belongs to; two parts share one where thinking is set off."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template's source and what it may refer to."""

    source: str
    tokens: dict[str, Any]
    """`bos_token`, `eos_token` and the like, as transformers hands them to a template."""
    as_parts: bool = False
    """Contents are given as `[{"type": "text", "text": …}]`; some vision models' templates want that."""

    @classmethod
    def of(cls, source: str, tokens: dict[str, Any]) -> "ChatTemplate":
        """The template, with contents in the form that it understands; TemplateError if it does neither."""
        template = cls(source, tokens)
        probe = [Message(role="user", content="text")]
        try:
            template.cut(probe, generation=True)
        except TemplateError:
            parts = replace(template, as_parts=True)
            try:
                parts.cut(probe, generation=True)
            except TemplateError:
                return template
            return parts
        return template

    @property
    def bos(self) -> str:
        """The text of `bos_token`; empty if there is none."""
        return str(self.tokens.get("bos_token") or "")

    def text(self, messages: Sequence[Message], generation: bool = False, now: datetime = DATE) -> str:
        """What the template writes, special tokens as text; TemplateError with the reason if it refuses."""
        from jinja2.exceptions import TemplateError as JinjaError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, _ = render_jinja_template(
                [[{"role": m.role, "content": self._content(m.content)} for m in messages]],
                chat_template=self.source,
                add_generation_prompt=generation,
                strftime_now=now.strftime,
                **self.tokens,
            )
        except JinjaError as error:
            raise TemplateError(
                _refusal(messages, error), "give another with `model.chat_template`"
            ) from None
        except _OTHER_FAILURES as error:
            raise TemplateError(
                _refusal(messages, error), "give another with `model.chat_template`"
            ) from None
        return texts[0]

    def cut(self, messages: Sequence[Message], generation: bool = False) -> tuple[list[Part], str]:
        """The conversation as markup and contents, and the markup behind the last content.

        The messages are rendered twice: with probes instead of contents, which shows the markup, and as they
        are, which proves it: joined, the parts are byte for byte what the template writes. What the template
        strips from a content (surrounding space, thinking of earlier turns) is not in the parts.

        Raises:
            TemplateError: it refuses these messages, or leaves out, repeats, moves or rewrites a content.
        """
        probes, cores = _probes(messages)
        cuts = self._find(probes, cores, messages, generation)
        rendered = self.text(messages, generation)
        parts, at = [], 0
        for number, (markup, core) in enumerate(cuts[:-1]):
            at += len(markup)
            content = _written(rendered, at, cores[core][1], cuts[number + 1][0])
            if content is None or (number == 0 and not rendered.startswith(markup)):
                role = messages[cores[core][0]].role
                raise TemplateError(f"the chat template rewrites the text of the {role} turn", _CONTENT_HINT)
            parts.append(Part(markup, content, cores[core][0]))
            at += len(content)
        return parts, cuts[-1][0]

    def _find(
        self,
        probes: list[Message],
        cores: list[tuple[int, str]],
        messages: Sequence[Message],
        generation: bool,
    ) -> list[tuple[str, int]]:
        """Markup before each probe with the probe's number, last the markup behind all of them (-1)."""
        text, at, found = self.text(probes, generation), 0, []
        for number, (index, _) in enumerate(cores):
            probe, role = _PROBE.format(number), messages[index].role
            position, count = text.find(probe), text.count(probe)
            thinking = number + 1 < len(cores) and cores[number + 1][0] == index
            if count == 0 and thinking:
                continue
            if count != 1:
                what = "leaves out or rewrites" if count == 0 else "repeats"
                raise TemplateError(f"the chat template {what} the text of the {role} turn", _CONTENT_HINT)
            if position < at:
                raise TemplateError(f"the chat template moves the text of the {role} turn", _CONTENT_HINT)
            found.append((text[at:position], number))
            at = position + len(probe)
        return [*found, (text[at:], -1)]

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self.as_parts else text


_CONTENT_HINT = "give a template that writes each text once, in order, with `model.chat_template`"


def _probes(messages: Sequence[Message]) -> tuple[list[Message], list[tuple[int, str]]]:
    """Messages with probes for contents, and per probe the message's index and the text it stands for.

    Thinking (`<think>…</think>` before an answer) has a probe of its own: templates format it, or drop it.
    """
    probes: list[Message] = []
    cores: list[tuple[int, str]] = []
    for index, message in enumerate(messages):
        content = _PROBE.format(len(cores))
        thinking = _THINKING.fullmatch(message.content) if message.role == "assistant" else None
        if thinking and thinking[2]:
            content = f"{thinking[1]}{content}{thinking[3]}{_PROBE.format(len(cores) + 1)}{thinking[5]}"
            cores += [(index, thinking[2]), (index, thinking[4])]
        else:
            cores.append((index, message.content))
        probes.append(Message(role=message.role, content=content))
    return probes, cores


def _written(rendered: str, at: int, content: str, markup: str) -> str | None:
    """The form of `content` that stands in `rendered` at `at`, before `markup`: as it is or stripped."""
    forms = [content, content.strip(), content.lstrip(), content.rstrip()]
    forms += [content.strip("\n"), content.lstrip("\n"), content.rstrip("\n")]
    return next((form for form in forms if rendered.startswith(form + markup, at)), None)


def _refusal(messages: Sequence[Message], error: Exception) -> str:
    roles = ", ".join(message.role for message in messages)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"the chat template does not render a conversation of {roles}: {reason}"
