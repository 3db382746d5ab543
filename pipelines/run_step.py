"""Running one step: drafts through stages, every plan of them ending as accepted or rejected rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from forgetless.curator.filters import TextJudge
from forgetless.curator.progress import Progress
from forgetless.curator.store import Store
from forgetless.pipelines.ask_run import AskRun
from forgetless.pipelines.choose_run import ChooseRun
from forgetless.pipelines.chunk import Chunk
from forgetless.pipelines.draft import Draft
from forgetless.pipelines.engines import Engines
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Asking, Choosing, Pipeline
from forgetless.pipelines.row import RowMaker
from forgetless.pipelines.set_rows import SetRows


@dataclass(frozen=True)
class StepRun:
    """One step of a recipe in one run."""

    name: str
    pipeline: Pipeline
    material: Material
    store: Store
    run_id: str

    @cached_property
    def _stored(self) -> SetRows:
        return SetRows(self.store, self.pipeline.digest)

    @cached_property
    def _rows(self) -> RowMaker:
        return RowMaker(self.name, self.pipeline, self.material, self.run_id)

    def count(self) -> tuple[int, int]:
        """How many records the plan names, and how many of them have ended already."""
        ended = self._stored.ended()
        known = [plan_id in ended for plan_id, _ in self.pipeline.plan(self.store)]
        return len(known), sum(known)

    def run(self, engines: Engines) -> None:
        """Make every planned row that is not there. Interrupted, it commits what it has in hand."""
        ended = self._stored.ended()
        plan = {plan_id: make for plan_id, make in self.pipeline.plan(self.store) if plan_id not in ended}
        if not plan:
            return
        chunk = Chunk(self.store)
        try:
            if not self.pipeline.stages:
                self._take((make() for make in plan.values()), len(plan), chunk)
            for number, stage in enumerate(self.pipeline.stages):
                if isinstance(stage, Choosing):
                    self._choosing(stage, number, chunk).run(set(plan), engines)
                elif number == 0:
                    drafts: Iterable[Draft] = (make() for make in plan.values())
                    self._asking(stage, number, chunk).run(drafts, len(plan), engines)
                else:
                    before = self.pipeline.stages[number - 1].name
                    waiting = self._stored.waiting(before)
                    drafts = (d for d in self._stored.passed(before) if d.plan_id in plan)
                    self._asking(stage, number, chunk).run(drafts, waiting, engines)
                chunk.commit()
        finally:
            chunk.commit()

    def _take(self, drafts: Iterable[Draft], count: int, chunk: Chunk) -> None:
        """Data that is there already: as it is, or refused for its text."""
        texts = TextJudge(self.pipeline.filters, self._earlier, distinct=True)
        with Progress(self.name, count) as progress:
            for draft in drafts:
                content = "\n".join(message.content for message in draft.messages) or draft.text or ""
                if not draft.rejection and (rejection := texts.judge(content)):
                    draft = draft.refused(rejection)
                chunk.add([self._rows.row(draft, "import", "rejected" if draft.rejection else "accepted")])
                progress.advance(1)

    def _earlier(self) -> Iterable[str]:
        in_store = self.pipeline.filters.near_duplicate_of == "store"
        return chain(self._stored.texts(), self._stored.others() if in_store else ())

    def _asking(self, stage: Asking, number: int, chunk: Chunk) -> AskRun:
        later = self.pipeline.stages[number + 1 :]
        chosen = any(isinstance(stage, Choosing) for stage in later)
        return AskRun(stage, number, not later, chosen, self._rows, self._stored, chunk)

    def _choosing(self, stage: Choosing, number: int, chunk: Chunk) -> ChooseRun:
        """With the asking stages behind the last choosing one, whose rows it brings together."""
        block: list[Asking] = []
        for earlier in self.pipeline.stages[:number]:
            block = [] if isinstance(earlier, Choosing) else [*block, earlier]
        last = number + 1 == len(self.pipeline.stages)
        names = [asking.name for asking in block]
        return ChooseRun(stage, number, last, names, block[0].samples, self._rows, self._stored, chunk)
