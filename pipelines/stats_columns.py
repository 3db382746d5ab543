"""Which columns of a foreign file hold what: as the user named them, else by the names that people give them."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import types

from forgetless.schemas.errors import UsageError
from forgetless.schemas.foreign import Column, ForeignStats

GUESSES: dict[Column, tuple[str, ...]] = {
    "ids": ("input_ids", "token_ids", "ids", "tokens"),
    "text": ("text",),
    "logprob": ("logprobs", "logprob", "log_probs", "token_logprobs", "token_logprob"),
    "perplexity": ("ppl", "perplexity", "perplexities", "token_perplexity", "token_ppl"),
    "labels": ("labels",),
    "mask": ("loss_mask", "completion_mask", "assistant_masks", "target_mask"),
    "spans": ("target_spans",),
    "prompt_length": ("prompt_length", "prompt_len", "num_prompt_tokens"),
}
"""Names tried in order, where none is given. Labels are taken before masks, and log-probs before perplexities."""

TARGETS: tuple[Column, ...] = ("labels", "mask", "spans", "prompt_length")


def _is_list(of: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
    return lambda kind: any(is_list(kind) for is_list in lists) and of(kind.value_type)


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_floating(kind) or types.is_integer(kind))


def _is_span(kind: pa.DataType) -> bool:
    return bool(types.is_struct(kind)) and {"start", "end"} <= {field.name for field in kind}


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


FORMS: dict[Column, tuple[str, Callable[[pa.DataType], bool]]] = {
    "ids": ("a list of integers", _is_list(types.is_integer)),
    "text": ("text", _is_text),
    "logprob": ("a list of numbers", _is_list(_is_number)),
    "perplexity": ("a list of numbers", _is_list(_is_number)),
    "labels": ("a list of integers", _is_list(types.is_integer)),
    "mask": ("a list of flags or numbers", _is_list(lambda kind: types.is_boolean(kind) or _is_number(kind))),
    "spans": ("a list of {start, end}", _is_list(_is_span)),
    "prompt_length": ("an integer", types.is_integer),
}


@dataclass(frozen=True)
class Columns:
    """What is read of a file: column names by what they hold."""

    names: dict[Column, str]

    @classmethod
    def of(cls, stats: ForeignStats, schema: pa.Schema) -> "Columns":
        """The columns that `stats` names, or that the file seems to have.

        Raises:
            UsageError: a named column is missing or of another type, or nothing fits.
        """
        names: dict[Column, str] = {}
        for column in ("ids", "text"):
            names |= _found(column, stats, schema)
        names |= _first(("logprob", "perplexity"), stats, schema)
        if not stats.answer_after:
            names |= _first(TARGETS, stats, schema)
        has = f"it has {_listed(schema)}; " if len(schema) else "it has no columns; "
        if not {"ids", "text"} & names.keys():
            raise UsageError(
                f"no column of {str(stats.path)!r} seems to hold token ids or text",
                f"{has}name one with --ids, or with --text and --tokenizer",
            )
        if not {"logprob", "perplexity"} & names.keys():
            raise UsageError(
                f"no column of {str(stats.path)!r} seems to hold a log-prob or perplexity per token",
                f"{has}name one with --logprob or --perplexity",
            )
        return cls(names)

    @property
    def meaning(self) -> Column:
        """logprob or perplexity."""
        return "logprob" if "logprob" in self.names else "perplexity"

    @property
    def targets(self) -> Column | None:
        """The column that tells targets."""
        return next((column for column in TARGETS if column in self.names), None)


def _first(columns: tuple[Column, ...], stats: ForeignStats, schema: pa.Schema) -> dict[Column, str]:
    """The one of these that the user names, else the first that is there."""
    named: tuple[Column, ...] = tuple(column for column in columns if getattr(stats, column))
    found = (_found(column, stats, schema) for column in named or columns)
    return next((name for name in found if name), {})


def _found(column: Column, stats: ForeignStats, schema: pa.Schema) -> dict[Column, str]:
    named: str | None = getattr(stats, column)
    form, fits = FORMS[column]
    if named is None:
        guessed = [n for n in GUESSES[column] if n in schema.names and fits(schema.field(n).type)]
        return {column: guessed[0]} if guessed else {}
    if named not in schema.names:
        raise UsageError(f"{str(stats.path)!r} has no column {named!r}", f"it has {_listed(schema)}")
    if not fits(schema.field(named).type):
        option = f"--{column.replace('_', '-')}"
        raise UsageError(f"column {named!r} is {schema.field(named).type}", f"{option} must name {form}")
    return {column: named}


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
