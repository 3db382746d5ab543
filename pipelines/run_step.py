"""Running one step: drafts through stages, every one of them ending as an accepted or a rejected row."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from forgetless.curator.engines import Engine
from forgetless.curator.filters import Duplicates, Turn, judge
from forgetless.curator.progress import Progress
from forgetless.curator.store import Store
from forgetless.pipelines.chunk import Chunk
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.pipeline import Material, Pipeline, Stage
from forgetless.schemas.base import digest, seed_of
from forgetless.schemas.outcome import Outcome, Rejection, Status
from forgetless.schemas.request import Request, Result


@dataclass(frozen=True)
class StepRun:
    """One step of a recipe in one run."""

    name: str
    pipeline: Pipeline
    material: Material
    store: Store
    run_id: str

    def count(self) -> tuple[int, int]:
        """How many records the plan names, and how many of them have ended already."""
        ended = self._ids("status <> 'intermediate'")
        known = [plan_id in ended for plan_id, _ in self.pipeline.plan()]
        return len(known), sum(known)

    def run(self, engine: Engine) -> None:
        """Make every planned row that is not there. Interrupted, it commits what it has in hand."""
        chunk = Chunk(self.store)
        try:
            taken = self._ids("true")
            todo = [make for plan_id, make in self.pipeline.plan() if plan_id not in taken]
            drafts: Iterator[Draft] = (make() for make in todo)
            if not self.pipeline.stages:
                self._take(drafts, len(todo), chunk)
            for number, stage in enumerate(self.pipeline.stages):
                count = len(todo)
                if number:
                    waiting = self._waiting(self.pipeline.stages[number - 1])
                    drafts, count = _drafts(waiting), len(waiting)
                if count:
                    self._stage(stage, number, drafts, count, engine, chunk)
                    chunk.commit()
        finally:
            chunk.commit()

    def _take(self, drafts: Iterator[Draft], count: int, chunk: Chunk) -> None:
        with Progress(self.name, count) as progress:
            for draft in drafts:
                chunk.add(self._row(draft, "import", "rejected" if draft.rejection else "accepted"))
                progress.advance(1)

    def _stage(
        self, stage: Stage, number: int, drafts: Iterator[Draft], count: int, engine: Engine, chunk: Chunk
    ) -> None:
        waiting: dict[str, tuple[Draft, Ask]] = {}
        duplicates = (
            Duplicates(self._turns(stage)) if self.pipeline.filters.deduplicate and stage.distinct else None
        )
        last = number + 1 == len(self.pipeline.stages)

        def requests() -> Iterator[Request]:
            for draft in drafts:
                if draft.rejection:
                    chunk.add(self._row(draft, stage.name, "rejected"))
                    progress.advance(1)
                    continue
                ask = stage.ask(draft)
                row_id = draft.plan_id if last else digest(draft.plan_id, number)
                waiting[row_id] = (draft, ask)
                yield Request(
                    id=row_id, prompt_ids=ask.prompt_ids, sampling=ask.sampling, seed=seed_of(row_id),
                    stop_ids=ask.stop_ids, stop_texts=ask.stop_texts,
                )  # fmt: skip

        began, tokens = 0.0, 0
        with Progress(f"{self.name} {stage.name}", count) as progress:
            for result in engine.generate(requests()):
                draft, ask = waiting.pop(result.id)
                chunk.add(self._ended(stage, draft, ask, result, duplicates, last))
                if not began:  # the engine's start is no part of its rate
                    began, tokens = time.monotonic(), engine.stats.tokens
                elapsed = time.monotonic() - began
                rate = f"{(engine.stats.tokens - tokens) / elapsed:,.0f} tok/s" if elapsed > 1 else ""
                progress.advance(1, rate)

    def _ended(
        self, stage: Stage, draft: Draft, ask: Ask, result: Result, duplicates: Duplicates | None, last: bool
    ) -> Outcome:
        """The row a result becomes."""
        if result.error:
            draft = replace(draft, rejection=Rejection(step="engine", reason=result.error))
        else:
            answer = Answer.of(result, ask, draft, self.material.tokenizer)
            turn = Turn(answer.ids, answer.text, answer.finish_reason)
            rejection = judge(turn, self.pipeline.filters, stage.finished)
            if not rejection and duplicates:
                rejection = duplicates.judge(answer.text)
            if rejection:  # what was sampled, and nothing behind it
                logprobs = answer.logprobs + answer.end_logprobs
                draft = replace(draft.sampled(result.token_ids, logprobs), rejection=rejection)
            else:
                draft = stage.extend(draft, answer)
        status: Status = "rejected" if draft.rejection else "accepted" if last else "intermediate"
        return self._row(draft, stage.name, status, ask, result)

    def _row(
        self, draft: Draft, stage: str, status: Status, ask: Ask | None = None, result: Result | None = None
    ) -> Outcome:
        sampling = ask.sampling.model_dump() if ask else {}
        text = draft.text
        if text is None:
            text = self.material.tokenizer.decode(draft.token_ids)
        return Outcome(
            id=result.id if result and status == "intermediate" else draft.plan_id, plan_id=draft.plan_id,
            run_id=self.run_id, step=self.name, digest=self.pipeline.digest,
            pipeline=self.pipeline.configuration["pipeline"], stage=stage, kind=self.pipeline.kind,
            status=status, rejection=draft.rejection, task=draft.task, parent_id=draft.parent_id,
            ordinal=draft.ordinal, messages=draft.messages, text=text, token_ids=draft.token_ids,
            target_spans=draft.spans, finish_reason=result.finish_reason if result else None,
            seed=seed_of(result.id) if result else None, **sampling,
            sampled_logprobs=draft.logprobs if result else None,
            ids_from="engine" if result else "tokenizer", tokenizer=self.material.vocabulary,
            model=self.material.model if result else None, metadata=json.dumps(draft.metadata, ensure_ascii=False),
        )  # fmt: skip

    def _ids(self, condition: str) -> set[str]:
        sql = f"SELECT DISTINCT plan_id FROM outcomes WHERE digest = '{self.pipeline.digest}' AND {condition}"
        return set(self.store.query(sql)["plan_id"].to_pylist())

    def _waiting(self, stage: Stage) -> pa.Table:
        """Intermediate rows of `stage` that no later row was made from, in plan order."""
        return self.store.query(
            f"SELECT * FROM outcomes o WHERE digest = '{self.pipeline.digest}' AND stage = '{stage.name}' "
            "AND status = 'intermediate' AND NOT EXISTS "
            "(SELECT 1 FROM outcomes c WHERE c.parent_id = o.id AND c.digest = o.digest) ORDER BY ordinal"
        )

    def _turns(self, stage: Stage) -> Iterator[str]:
        """What the stage has let pass so far, as the text that duplicates are told by."""
        rows = self.store.query(
            "SELECT messages, token_ids, target_spans FROM outcomes "
            f"WHERE digest = '{self.pipeline.digest}' AND stage = '{stage.name}' AND status <> 'rejected'"
        )
        for row in rows.to_pylist():
            if row["messages"]:
                yield row["messages"][-1]["content"]
            else:
                span = row["target_spans"][-1]
                ids = row["token_ids"][span["start"] : span["end"]]
                yield self.material.tokenizer.decode(ids, skip_special_tokens=True)


def _drafts(rows: pa.Table) -> Iterator[Draft]:
    for batch in rows.to_batches(max_chunksize=1000):
        yield from map(Draft.from_row, batch.to_pylist())
