"""Existing data as records: text, conversations, or prompts with completions. Bad rows become rejects."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from pydantic import ValidationError

from forgetless.curator.chat.format import start_ids
from forgetless.curator.sources import SourceRow, encodable, keyed_rows, read_rows
from forgetless.curator.store import Store
from forgetless.pipelines.draft import Draft
from forgetless.pipelines.gate import configuration
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Entry, Pipeline
from forgetless.schemas.errors import RecipeError, TemplateError
from forgetless.schemas.outcome import Rejection, Span
from forgetless.schemas.request import Message
from forgetless.schemas.steps import Import

PAIRS = (
    ("prompt", "completion"),
    ("instruction", "response"),
    ("instruction", "output"),
    ("question", "answer"),
)
"""Columns that people call a prompt and its answer, tried in order where the recipe names none."""


class _Bad(Exception):
    """A row that is no record; the message says why."""


Reader = Callable[[dict[str, Any]], list[Message] | str]


def imported(step: Import, material: Material) -> Pipeline:
    """Rows of a file or dataset folder as records of kind ground_truth or replay."""
    if next(read_rows(step.path), None) is None:
        raise RecipeError(f"{str(step.path)!r} holds no rows", "check `path`")
    columns = {
        name: getattr(step, name) for name in ("text", "messages", "prompt", "completion", "reference")
    }
    settings = {
        "pipeline": step.pipeline, "seed": step.seed, "kind": step.kind, "task": _task(step), **columns,
        "vocabulary": material.vocabulary, "template": material.template(),
        "start": material.recipe.model.start_token, "filters": configuration(step.filters),
    }  # fmt: skip
    return Pipeline(step.kind, settings, partial(_entries, step, material), [], step.filters)


def _task(step: Import) -> str:
    return step.task or step.path.stem


def _entries(step: Import, material: Material, store: Store | None) -> Iterator[Entry]:
    for ordinal, (key, row) in enumerate(islice(keyed_rows(step.path), step.limit)):
        yield key, partial(_draft, ordinal, row, step, material)


def _draft(ordinal: int, row: SourceRow, step: Import, material: Material) -> Draft:
    draft = Draft(ordinal=ordinal, task=_task(step), metadata={"source": row.where})
    try:
        return _filled(draft, row, step, material)
    except (_Bad, TemplateError) as error:
        rejection = Rejection(step="source", reason=f"{row.where}: {error}")
        return replace(draft, text=row.raw, rejection=rejection)


def _filled(draft: Draft, row: SourceRow, step: Import, material: Material) -> Draft:
    if row.values is None:
        raise _Bad(row.problem)
    content = _reader(row.values, step)(row.values)
    if (reference := _reference(row.values, step)) is not None:
        draft = replace(draft, metadata=draft.metadata | {"reference": reference})
    texts = [content] if isinstance(content, str) else [message.content for message in content]
    if not all(map(encodable, [*texts, reference or ""])):
        raise _Bad("holds half a character (a lone surrogate)")
    if isinstance(content, str):
        return _raw(draft, [content], material)
    draft = replace(draft, messages=content)
    if material.tokenizer.chat_template:
        ids, spans = material.chat.render(content)
        return replace(draft.given(ids), spans=spans)
    if [message.role for message in content] == ["user", "assistant"]:
        return _raw(draft, [content[0].content, content[1].content], material)
    raise _Bad("is a conversation, and the tokenizer has no chat template")


def _reference(row: dict[str, Any], step: Import) -> str | None:
    """The columns that verifiers go by, joined; lists (of tests, say) line by line."""
    if step.reference is None:
        return None
    names = [step.reference] if isinstance(step.reference, str) else step.reference
    values = [_column(row, name) for name in names]
    lines = [_line(line) for value in values for line in (value if isinstance(value, list) else [value])]
    if not any(lines):
        raise _Bad(f"has nothing in {', '.join(map(repr, names))} that an answer could be held against")
    return "\n".join(line for line in lines if line)


def _line(value: Any) -> str:
    """Part of a reference; what is no text, a JSON Schema say, as JSON."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def _raw(draft: Draft, parts: list[str], material: Material) -> Draft:
    """Start token, the parts' ids, end token; the last part and the end are the target."""
    tokenizer = material.tokenizer
    draft = draft.given(start_ids(tokenizer, material.recipe.model.start_token))
    for part in parts:
        start = len(draft.token_ids)
        ids = tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True)
        draft = draft.given(list(ids))
    draft = draft.given([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])
    return replace(draft, text="".join(parts), spans=[Span(start=start, end=len(draft.token_ids))])


def _reader(row: dict[str, Any], step: Import) -> Reader:
    """How this row is read: by the columns the recipe names, else by those it has."""
    if step.messages or (not step.text and not step.prompt and "messages" in row):
        return lambda row: _conversation(_column(row, step.messages or "messages"))
    if step.prompt or step.completion:
        names = (step.prompt or "prompt", step.completion or "completion")
        return lambda row: _pair(row, *names)
    if step.text:
        return lambda row: _text(row, step.text or "text")
    for names in PAIRS:
        if set(names) <= row.keys():
            return lambda row: _pair(row, *names)
    if "text" in row:
        return lambda row: _text(row, "text")
    wanted = ", ".join(["messages", *("+".join(pair) for pair in PAIRS), "text"])
    raise _Bad(f"has columns {', '.join(row)}; wanted {wanted}, or named columns")


def _column(row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise _Bad(f"has no column {name!r}, only {', '.join(row)}")
    return row[name]


def _text(row: dict[str, Any], name: str) -> str:
    value = _column(row, name)
    if not isinstance(value, str) or not value.strip():
        raise _Bad(f"{name!r} is empty or no text")
    return value


def _pair(row: dict[str, Any], prompt: str, completion: str) -> list[Message]:
    return [
        Message(role="user", content=_text(row, prompt)),
        Message(role="assistant", content=_text(row, completion)),
    ]


def _conversation(value: Any) -> list[Message]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise _Bad("messages are no list") from None
    try:
        messages = [Message(role=turn["role"], content=turn["content"]) for turn in value]
    except (TypeError, KeyError, ValidationError):
        raise _Bad("messages are no list of {role, content}") from None
    if not any(message.role == "assistant" and message.content.strip() for message in messages):
        raise _Bad("has no assistant message to learn from")
    return messages
