"""A suite's files and queries, read for one model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from forgetless.curator.progress import note
from forgetless.curator.sources import read_rows
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import UNKNOWN_TOKENIZER
from forgetless.schemas.request import Message
from forgetless.schemas.suite import Behaviour, Passages, Suite
from forgetless.train.asking import Asking
from forgetless.train.example import Example
from forgetless.train.measures.accuracy import accuracy
from forgetless.train.measures.behaviour import behaviour
from forgetless.train.measures.measure import Keys, Measure
from forgetless.train.measures.reading import cross_entropy, divergence
from forgetless.train.reader import read_examples

PROMPTS = ("prompt", "instruction", "question", "text")
"""Columns with a prompt, tried in order."""
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "reference"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("instruction", "response"),
    ("instruction", "output"),
)
"""Columns with a prompt and its answer, tried in order before `text`."""


@dataclass(frozen=True)
class Reader:
    """What a suite is read with."""

    asking: Asking
    vocabulary: str
    """Fingerprint of the model's tokenizer; records of another one are refused."""
    tokens: int
    """Ids that the model has, from 0."""
    context: int
    """Its positions."""
    store: Store | None = None
    """What queries are about."""
    snapshot: int | None = None

    def measures(self, suite: Suite, keys: Keys) -> list[Measure]:
        """Everything the suite wants, in its order.

        Raises:
            UsageError: a file or query that gives nothing, a row that is none, a prompt without room for its answer.
        """
        wanted = [accuracy(task, self.asking, keys) for task in suite.tasks]
        wanted += [cross_entropy(p.name, p.role, self.passages(p), keys) for p in suite.texts]
        wanted += [divergence(p.name, p.role, self.passages(p), keys) for p in suite.kl]
        for settings in suite.behaviour:
            wanted += behaviour(settings, self.prompts(settings), keys)
        for measure in wanted:
            self._check_room(measure)
        return wanted

    def passages(self, asked: Passages) -> list[Example]:
        """Records or rows, cut to what the model can read; those without a target there are left out."""
        found = self._records(asked) if asked.sql else list(self._rows(asked))
        longest = min(self.context, asked.max_tokens or self.context)
        read = [short for example in found if (short := example.cut(longest)).target_tokens]
        if not read:
            source = f"the query {asked.sql!r}" if asked.sql else repr(str(asked.path))
            raise UsageError(f"{asked.name!r}: {source} gives nothing to read", "correct it in the suite")
        cut, lost = sum(len(example) > longest for example in found), len(found) - len(read)
        if cut and asked.max_tokens != longest:
            note(f"{asked.name}: {cut:,} passages are longer than the model's {longest:,} positions and cut")
        if lost:
            note(f"{asked.name}: {lost:,} passages left out: no target token in the first {longest:,}")
        return read

    def prompts(self, asked: Behaviour) -> list[list[int]]:
        """The prompts' ids up to where the answers begin."""
        texts = [_prompt(row, where, asked) for where, row in _file(asked.name, asked.path, asked.limit)]
        return [self.asking.ids(text) for text in texts]

    def _records(self, asked: Passages) -> list[Example]:
        assert asked.sql
        if self.store is None:
            raise UsageError(f"{asked.name!r} is a query, and there is no store", "name one with --store")
        found = read_examples(self.store, asked.sql, self.snapshot)[: asked.limit]
        mine = f"('{self.vocabulary}', '{UNKNOWN_TOKENIZER}')"
        others = self.store.query(f"SELECT id FROM records WHERE tokenizer NOT IN {mine}", self.snapshot)
        foreign = set(others["id"].to_pylist())
        for example in found:
            if example.id in foreign or example.token_ids.max() >= self.tokens:
                raise UsageError(
                    f"{asked.name!r}: record {example.id!r} was made with another vocabulary than the model's",
                    "leave such records out in the suite's SQL",
                )
        return found

    def _rows(self, asked: Passages) -> Iterator[Example]:
        assert asked.path
        for where, row in _file(asked.name, asked.path, asked.limit):
            pair = next((pair for pair in PAIRS if set(pair) <= row.keys()), None)
            names = pair or ("text",)
            parts = [row.get(name) for name in names]
            if not all(isinstance(part, str) and part.strip() for part in parts):
                raise UsageError(
                    f"{asked.name!r}: {where} has no text in {' or '.join(names)}",
                    "write `text`, or `prompt` and `completion`",
                )
            yield self._example(where, [str(part) for part in parts])

    def _example(self, where: str, parts: list[str]) -> Example:
        """A text, or a prompt and its answer: as `import` makes records of them."""
        if len(parts) == 2 and self.asking.chat:
            turns = [Message(role="user", content=parts[0]), Message(role="assistant", content=parts[1])]
            ids, spans = self.asking.chat.render(turns)
            return Example.of(where, "answer", ids, [(span.start, span.end) for span in spans])
        ids, start = list(self.asking.start), 0
        tokenizer = self.asking.tokenizer
        for part in parts:
            start = len(ids)
            ids += tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True)
        ids += [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        return Example.of(where, "text", ids, [(start, len(ids))])

    def _check_room(self, measure: Measure) -> None:
        """Engines differ in what they do where a context is full: it must not come to that."""
        probe = measure.probe
        longest = max(map(len, probe.prompts), default=0)
        if probe.prompts and not all(probe.prompts):
            raise UsageError(f"{measure.name!r}: a prompt is empty", "leave it out of the file")
        if probe.prompts and longest + probe.max_tokens > self.context:
            raise UsageError(
                f"{measure.name!r}: a prompt of {longest:,} tokens and an answer of {probe.max_tokens:,} do not fit into"
                f" the model's {self.context:,} positions",
                "lower its `max_tokens`, or leave long prompts out",
            )


def _file(name: str, path: Path, limit: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and values of the file's rows; UsageError for a broken row, or where there are none."""
    there = False
    for row in islice(read_rows(path), limit):
        if row.values is None:
            raise UsageError(f"{name!r}: {row.where} {row.problem}", "correct the file")
        there = True
        yield row.where, row.values
    if not there:
        raise UsageError(f"{name!r}: {str(path)!r} holds no rows", "correct its path")


def _prompt(row: dict[str, Any], where: str, asked: Behaviour) -> str:
    names: Sequence[str] = [asked.column] if asked.column else [name for name in PROMPTS if name in row][:1]
    text = row.get(names[0]) if names else None
    if not isinstance(text, str) or not text.strip():
        wanted = f"in column {asked.column!r}" if asked.column else f"in any of {', '.join(PROMPTS)}"
        raise UsageError(
            f"{asked.name!r}: {where} has no prompt {wanted}; it has {', '.join(row)}",
            "name the right one in `column`",
        )
    return text
