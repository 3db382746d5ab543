"""What a chat template writes around the contents of a conversation, derived from probes alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from forgetless.curator.chat.template import ChatTemplate
from forgetless.schemas.errors import TemplateError
from forgetless.schemas.request import Message

System = Literal["turn", "folded", "lost", "refused"]
"""A system text has a turn of its own, stands inside the user's, is dropped or rewritten, or is an error."""
Leading = Callable[[str], str]
"""From a markup text to the single token it begins with, leading space aside; empty if there is none."""

_CONTENT = "a \"b\" 'c' <d> & {e} \\n é\n\n  f"  # what templates that escape, split or squeeze would change


@dataclass(frozen=True)
class Markup:
    """The pieces between contents, as text, special tokens spelled out."""

    open: str
    """Up to the first user content."""
    answer: str
    """From a user's content to the answer to be generated: the turn's end and the generation prompt."""
    next_user: str
    """From an answer to the next user content."""
    finished: str
    """From a user's content to a finished last answer; `answer` and perhaps more (an empty thought)."""
    past: str
    """From a user's content to a finished answer with more turns behind it."""
    tail: str
    """Behind a finished last answer."""
    generation_prompt: str
    """What `add_generation_prompt` adds; empty for templates that ignore it."""
    system: System
    """What becomes of a system text."""
    system_open: str
    """Up to a system text."""
    system_close: str
    """From a system text to the first user content."""
    default_system: str | None
    """What the template says of its own accord where no system text is given."""
    user_end: str
    """The token that ends a user's turn; empty if none does, then `user_end_text` tells where to stop."""
    user_end_text: str
    """The text to stop at where no token ends the turn."""
    assistant_end: str
    """The token that ends an answer; empty if none does, then `assistant_end_text` tells where to stop."""
    assistant_end_text: str
    """The text to stop at where no token ends the answer."""

    @classmethod
    def of(cls, template: ChatTemplate, leading: Leading) -> "Markup":
        """Cut `template` by rendering; TemplateError with the reason where that cannot be done."""
        (open_,), answer = markups(template, "u", generation=True)
        (_, finished), tail = markups(template, "ua")
        (open_3, past, next_user), answer_3 = markups(template, "uau", generation=True)
        if open_3 != open_ or answer_3 != answer:
            raise TemplateError("the chat template writes the first turn unlike later ones", _OTHER)
        prompt = _generation_prompt(template)
        if not prompt:
            answer = _answer_without_prompt(answer, finished)
        for what, text in (("a user's turn", answer), ("an answer", next_user)):
            if not text.strip():
                raise TemplateError(f"the chat template marks the end of {what} by space at most", _OTHER)
        system, system_open, system_close = _system(template, open_)
        user_end, assistant_end = leading(answer), leading(tail) or leading(next_user)
        return cls(
            open=open_, answer=answer, next_user=next_user, finished=finished, past=past, tail=tail,
            generation_prompt=prompt, system=system, system_open=system_open, system_close=system_close,
            default_system=_default_system(template.bos, open_, system_open, system_close, next_user, tail),
            user_end=user_end, user_end_text="" if user_end else _first_line(answer),
            assistant_end=assistant_end,
            assistant_end_text="" if assistant_end else _first_line(tail) or _first_line(next_user),
        )  # fmt: skip


_OTHER = "give another template with `model.chat_template`"


def markups(
    template: ChatTemplate, roles: str, generation: bool = False, content: str = _CONTENT
) -> tuple[list[str], str]:
    """The markup before each turn of a conversation (`roles`: s, u and a) and behind the last."""
    names = {"s": "system", "u": "user", "a": "assistant"}
    parts, tail = template.cut([Message(role=names[role], content=content) for role in roles], generation)
    return [part.markup for part in parts], tail


def _generation_prompt(template: ChatTemplate) -> str:
    question = [Message(role="user", content=_CONTENT)]
    without, prompted = template.text(question), template.text(question, generation=True)
    if not prompted.startswith(without):  # Phi-3 ends a conversation without prompt by its end token
        without = without.removesuffix(template.tokens.get("eos_token") or "")
    return prompted[len(_common_prefix(without, prompted)) :]


def _answer_without_prompt(answer: str, finished: str) -> str:
    """The opening of an answer for a template that ignores `add_generation_prompt`.

    Finished answers show it, unless they add no more than space to the user's end: the `[/INST] ` of some
    Mistral templates is `[/INST]` when generating, and the model writes the space as part of its first word.
    """
    return finished if finished.startswith(answer) and finished[len(answer) :].strip() else answer


def _system(template: ChatTemplate, open_: str) -> tuple[System, str, str]:
    """What becomes of a system text, the markup before it and from it to the user's."""
    try:
        (before, after), _ = markups(template, "su", generation=True)
    except TemplateError:
        try:
            template.text([Message(role="system", content="s"), Message(role="user", content="u")])
        except TemplateError:
            return "refused", "", ""
        return "lost", "", ""
    return ("folded" if before.startswith(open_) else "turn"), before, after


def _default_system(
    bos: str, open_: str, system_open: str, system_close: str, next_user: str, tail: str
) -> str | None:
    """The text in the place of a system text, or else all that is before the first user turn; None if none.

    Every later user turn shows what belongs to a user turn: the rest of the opening is the template's own.
    """
    open_, system_open = open_.removeprefix(bos), system_open.removeprefix(bos)
    preamble = open_.removesuffix(_common_suffix(open_, next_user))
    if not re.sub(r"<[^<>\s]+>|\[\w+\]", "", preamble).strip():  # nothing but tokens: GLM's `[gMASK]<sop>`
        return None
    instead = open_.removeprefix(system_open).removesuffix(system_close)
    if system_open + instead + system_close == open_ and instead:
        return instead
    return preamble.removeprefix(next_user.removeprefix(tail).replace("user", "system"))


def _common_suffix(a: str, b: str) -> str:
    return _common_prefix(a[::-1], b[::-1])[::-1]


def _common_prefix(a: str, b: str) -> str:
    length = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


def _first_line(markup: str) -> str:
    """The first line that is not blank, with the space before it: ` [/INST]`, `### Response:`."""
    return next((line.rstrip() for line in markup.split("\n") if line.strip()), "")
