"""Magpie: conversations the model writes from the empty user turn of its chat template (Xu et al. 2024)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from forgetless.curator.sources import SourceRow, encodable, keyed_rows, read_rows
from forgetless.curator.store import Store
from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.gate import configuration
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Entry, OneReply, Pipeline, Stage
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Filters, Magpie, Questions

QUESTION_COLUMNS = ("instruction", "question", "prompt", "text")


@dataclass(frozen=True)
class Instruction(OneReply):
    """A user turn, from the pre-query; behind a steering system text where the recipe gives one.

    The steering text is not part of the record: the record's own prefix is the template's ordinary one.
    """

    step: Magpie
    material: Material
    author: Author
    turn: int

    @property
    def filters(self) -> Filters:
        return self.step.filters

    @property
    def name(self) -> str:
        return f"instruction_{self.turn + 1}"

    @property
    def distinct(self) -> bool:
        return self.turn == 0

    def ask(self, draft: Draft) -> Ask:
        chat = self.material.chat
        ids = draft.token_ids
        if self.step.steering:
            system = self.step.steering[draft.ordinal % len(self.step.steering)].prompt
            ids = chat.open_ids(system) + ids[len(chat.open_ids()) :]
        return Ask(ids, self.step.instruction, chat.user_stop_ids, chat.user_stop_texts, verbatim=True)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        draft = draft.sampled(answer.ids, answer.logprobs).said("user", answer.text)
        return draft.given(self.material.chat.answer_ids())


@dataclass(frozen=True)
class Reply(OneReply):
    """An assistant turn, with the token that ends it; the record's target."""

    step: Magpie
    material: Material
    author: Author
    turn: int

    @property
    def filters(self) -> Filters:
        return self.step.filters

    @property
    def name(self) -> str:
        return f"answer_{self.turn + 1}"

    def ask(self, draft: Draft) -> Ask:
        chat = self.material.chat
        stop_ids, stop_texts = chat.assistant_stop_ids, chat.assistant_stop_texts
        return Ask(draft.token_ids, self.step.answer, stop_ids, stop_texts, verbatim=True)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        start = len(draft.token_ids)
        if self.turn + 1 == self.step.turns:
            return answer.behind(draft).target(start).said("assistant", answer.text)
        # The next user turn's markup begins with the end of this one.
        draft = draft.sampled(answer.ids, answer.logprobs)
        end, markup = len(draft.token_ids) + len(answer.end_ids), self.material.chat.next_user_ids()
        if answer.end_ids == markup[: len(answer.end_ids)]:
            draft = draft.sampled(answer.end_ids, answer.end_logprobs).given(markup[len(answer.end_ids) :])
        else:  # ended by another stop token than the template's: the template's is what is trained on
            draft, end = draft.given(markup), len(draft.token_ids)
        span = draft.target(start).spans[-1].model_copy(update={"end": end})
        return replace(draft, spans=[*draft.spans, span]).said("assistant", answer.text)


def magpie(step: Magpie, material: Material) -> Pipeline:
    """Instruction, answer, and further turns; prepared questions stand for the first instruction."""
    author = material.replayer(step.writer)
    stages: list[Stage] = [
        stage
        for turn in range(step.turns)
        for stage in (Instruction(step, material, author, turn), Reply(step, material, author, turn))
    ]
    material.chat.open_ids(step.steering[0].prompt if step.steering else None)  # or it is refused here
    entries = partial(_written, step, material)
    if step.questions:
        stages = stages[1:]
        entries = partial(_prepared, step, step.questions, material)
        if next(read_rows(step.questions.path), None) is None:
            raise RecipeError(f"{str(step.questions.path)!r} holds no questions", "check `questions.path`")
    settings = {
        "pipeline": step.pipeline, "seed": step.seed, **author.signature(), "template": author.template(),
        "turns": step.turns, "steering": [steering.model_dump() for steering in step.steering],
        "prepared": step.questions is not None, "instruction": step.instruction.model_dump(),
        "answer": step.answer.model_dump(), "filters": configuration(step.filters),
    }  # fmt: skip
    return Pipeline("magpie", settings, entries, stages, step.filters)


def _written(step: Magpie, material: Material, store: Store | None) -> Iterator[Entry]:
    tasks: list[str | None] = [steering.task for steering in step.steering]
    tasks = tasks or [None]
    for i in range(step.count or 0):
        draft = Draft(ordinal=i, task=tasks[i % len(tasks)])
        yield str(i), partial(draft.given, material.chat.open_ids())


def _prepared(step: Magpie, questions: Questions, material: Material, store: Store | None) -> Iterator[Entry]:
    for ordinal, (key, row) in enumerate(islice(keyed_rows(questions.path), step.count)):
        yield key, partial(_asked, ordinal, row, questions, material)


def _asked(ordinal: int, row: SourceRow, questions: Questions, material: Material) -> Draft:
    draft = Draft(ordinal=ordinal, metadata={"source": row.where})
    question, problem = _question(row, questions)
    if question is None:
        rejection = Rejection(step="source", reason=f"{row.where}: {problem}")
        return replace(draft, text=row.raw, rejection=rejection)
    chat = material.chat
    ids = chat.open_ids() + chat.text_ids(question) + chat.answer_ids()
    return draft.given(ids).said("user", question)


def _question(row: SourceRow, questions: Questions) -> tuple[str | None, str]:
    if row.values is None:
        return None, row.problem
    column = questions.column or next((c for c in QUESTION_COLUMNS if c in row.values), None)
    if column is None or column not in row.values:
        return None, f"has no column {column or ' or '.join(QUESTION_COLUMNS)}"
    value: Any = row.values[column]
    if not isinstance(value, str) or not value.strip():
        return None, f"{column!r} is empty or no text"
    if not encodable(value):
        return None, f"{column!r} holds half a character (a lone surrogate)"
    return value, ""
