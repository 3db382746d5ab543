"""One asking stage in one run: drafts become requests, results become rows."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from forgetless.curator.engines import Engine
from forgetless.curator.progress import Progress
from forgetless.pipelines.chunk import Chunk
from forgetless.pipelines.draft import Ask, Draft
from forgetless.pipelines.engines import Engines
from forgetless.pipelines.gate import Gate
from forgetless.pipelines.pipeline import Asking
from forgetless.pipelines.row import RowMaker
from forgetless.pipelines.set_rows import SetRows
from forgetless.pipelines.threads import in_threads
from forgetless.schemas.base import digest, seed_of
from forgetless.schemas.errors import TemplateError
from forgetless.schemas.outcome import Outcome, Rejection, Status
from forgetless.schemas.request import Request, Result


@dataclass
class AskRun:
    """A stage's requests that have no row yet, and what becomes of them."""

    stage: Asking
    number: int
    """The stage's place in the pipeline."""
    last: bool
    """No stage follows: rows end their plans."""
    chosen: bool
    """A later stage chooses, so that a refused reply does not end its plan."""
    rows: RowMaker
    stored: SetRows
    chunk: Chunk
    _waiting: dict[str, tuple[Draft, Ask]] = field(default_factory=dict)

    def run(self, drafts: Iterable[Draft], count: int, engines: Engines) -> None:
        """Ask for what is missing of `count` drafts; the engine is touched only if something is."""
        made = self.stored.made(self.stage.name)
        total = count * self.stage.samples - len(made)
        with Progress(f"{self.rows.step} {self.stage.name}", total) as progress:
            requests = self._requests(drafts, made, progress)
            first = next(requests, None)
            if first is None:
                return
            self._gate = self._new_gate()
            engine = engines.of(self.stage.author)
            rate = _Rate(engine)
            results = engine.generate(chain([first], requests))
            for row in in_threads(self._row, results, self.stage.workers):
                self.chunk.add([row])
                progress.advance(1, tokens_per_second=rate.per_second())

    def _new_gate(self) -> Gate | None:
        if self.stage.filters is None:
            return None
        return Gate(self.stage, self.stage.filters, self.stored, self.rows.material.tokenizer)

    def _requests(self, drafts: Iterable[Draft], made: set[str], progress: Progress) -> Iterator[Request]:
        for draft in drafts:
            try:
                ask = None if draft.rejection else self.stage.ask(draft)
            except TemplateError as error:  # the author's template takes no such conversation
                ask, draft = None, draft.refused(Rejection(step="template", reason=error.message))
            if ask is None:  # the source itself is of no use
                self.chunk.add([self.rows.row(draft, self.stage.name, "rejected")])
                progress.advance(self.stage.samples)
                continue
            for sample in range(self.stage.samples):
                row_id = self._id(draft, sample)
                if row_id not in made:
                    yield self._request(row_id, draft, ask, sample)

    def _id(self, draft: Draft, sample: int) -> str:
        return draft.plan_id if self.last else digest(draft.previous_id or draft.plan_id, self.number, sample)

    def _request(self, row_id: str, draft: Draft, ask: Ask, sample: int) -> Request:
        if self.stage.samples > 1:
            draft = replace(draft, metadata=draft.metadata | {"sample": sample})
        self._waiting[row_id] = (draft, ask)
        return Request(
            id=row_id, prompt_ids=ask.prompt_ids, messages=ask.messages, sampling=ask.sampling,
            seed=seed_of(row_id), stop_ids=ask.stop_ids, stop_texts=ask.stop_texts, choices=ask.choices,
        )  # fmt: skip

    def _row(self, result: Result) -> Outcome:
        draft, ask = self._waiting.pop(result.id)
        if self.stage.filters is not None:  # else it is no part of the record, and says nothing of it
            drawn = {
                **ask.sampling.model_dump(),
                "seed": seed_of(result.id),
                "finish_reason": result.finish_reason,
            }
            draft = replace(draft, drawn=drawn, model=self.stage.author.model)
        draft = self._extended(draft, ask, result)
        status: Status = "accepted" if self.last else "intermediate"
        if draft.rejection:
            status = "intermediate" if self.chosen else "rejected"
        return self.rows.row(draft, self.stage.name, status, result.id if status == "intermediate" else None)

    def _extended(self, draft: Draft, ask: Ask, result: Result) -> Draft:
        if result.error:
            return draft.refused(Rejection(step="engine", reason=result.error))
        answer = self.rows.material.answer(result, ask, draft, self.stage.author)
        if self._gate and (rejection := self._gate.judge(answer)):
            return self.stage.written(draft, answer).refused(rejection)
        return self.stage.extend(draft, answer)


class _Rate:
    """Tokens per second since the first result: the engine's start is no part of its rate."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began, self._tokens = 0.0, 0

    def per_second(self) -> float | None:
        """None while it is too early to tell."""
        if not self._began:
            self._began, self._tokens = time.monotonic(), self._engine.stats.tokens
        elapsed = time.monotonic() - self._began
        return (self._engine.stats.tokens - self._tokens) / elapsed if elapsed > 1 else None
