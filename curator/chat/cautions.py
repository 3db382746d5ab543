"""What a user of a chat template should know before data is made with it."""

from datetime import timedelta

from forgetless.curator.chat.markup import Markup, markups
from forgetless.curator.chat.template import DATE, ChatTemplate
from forgetless.schemas.errors import TemplateError
from forgetless.schemas.request import Message

_QUESTION = Message(role="user", content="question")


def cautions(template: ChatTemplate, markup: Markup) -> list[str]:
    """Sentences, most consequential first; empty for a template without surprises."""
    return [*_ends(markup), *_openings(markup), *_systems(template, markup), *_contents(template)]


def _ends(markup: Markup) -> list[str]:
    said = []
    for role, text in (("user", markup.user_end_text), ("assistant", markup.assistant_end_text)):
        if text:
            said.append(
                f"the end of the {role} turn is no single token: generation stops at the text {text!r}"
            )
    if markup.assistant_end and (rest := markup.tail.partition(markup.assistant_end)[2]).strip():
        said.append(f"answers end at {markup.assistant_end!r}; the template's {rest!r} behind it is left out")
    return said


def _openings(markup: Markup) -> list[str]:
    said = []
    if not markup.generation_prompt:
        said.append("the template ignores add_generation_prompt")
    if not markup.finished.startswith(markup.answer):
        said.append(
            f"a generated answer follows {markup.answer!r}, a finished one {markup.finished!r}: "
            "imported conversations have another prefix than generated ones"
        )
    if markup.past != markup.finished:
        said.append(f"an earlier answer follows {markup.past!r}, the last one {markup.finished!r}")
    return said


def _systems(template: ChatTemplate, markup: Markup) -> list[str]:
    said = []
    if markup.default_system is not None:
        said.append(f"the template inserts a system text of its own: {markup.default_system!r}")
    if markup.system in ("refused", "lost"):
        said.append(f"a system text is {markup.system}: there is no steering by system prompts")
    else:
        try:
            markups(template, "suau", generation=True)
        except TemplateError as error:
            said.append(f"a system text cannot stand before several turns: {error.message}")
    later = DATE + timedelta(days=400)
    if template.text([_QUESTION]) != template.text([_QUESTION], now=later):
        said.append(f"the template writes the date; it is always told {DATE:%d %b %Y}")
    return said


def _contents(template: ChatTemplate) -> list[str]:
    said = []
    for role in ("user", "assistant"):
        turns = [_QUESTION] if role == "user" else [_QUESTION, Message(role=role, content="answer")]
        turns[-1] = Message(role=role, content="\n \n text \n \n")
        parts, _ = template.cut(turns)
        if parts[-1].content != turns[-1].content:
            said.append(f"the template strips space around the text of the {role} turn")
    thoughtful = Message(role="assistant", content="<think>\nthought\n</think>\n\nanswer")
    for which, turns in (
        ("the last answer", [_QUESTION, thoughtful]),
        ("earlier answers", [_QUESTION, thoughtful] * 2),
    ):
        try:
            dropped = len(template.cut(turns)[0]) < len(turns) + sum(turn is thoughtful for turn in turns)
        except TemplateError:
            said.append(f"the template rewrites the thinking of {which}")
            break
        if dropped:
            said.append(f"the template strips the thinking of {which}")
            break
    return said
