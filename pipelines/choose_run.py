"""One choosing stage in one run: all that was made of a plan, brought together."""

from dataclasses import dataclass

from forgetless.curator.progress import Progress
from forgetless.pipelines.chunk import Chunk
from forgetless.pipelines.draft import Draft
from forgetless.pipelines.engines import Engines
from forgetless.pipelines.pipeline import Choosing
from forgetless.pipelines.row import RowMaker
from forgetless.pipelines.score import ScoreRun
from forgetless.pipelines.set_rows import SetRows
from forgetless.schemas.base import digest
from forgetless.schemas.outcome import Outcome, Status
from forgetless.schemas.steps import Score


@dataclass(frozen=True)
class ChooseRun:
    """A stage's plans that it has not decided yet."""

    stage: Choosing
    number: int
    """The stage's place in the pipeline."""
    last: bool
    """No stage follows: rows end their plans."""
    block: list[str]
    """The asking stages since the last choosing one."""
    samples: int
    """Rows that the block makes of a plan."""
    rows: RowMaker
    stored: SetRows
    chunk: Chunk

    def run(self, plan: set[str], engines: Engines) -> None:
        """Decide what is undecided of `plan`. A plan with rows missing is left to another run."""
        todo = plan & self.stored.reached(self.block) - self.stored.reached([self.stage.name])
        logprobs = self._logprobs(engines) if self.stage.scored and todo else {}
        with Progress(f"{self.rows.step} {self.stage.name}", len(todo)) as progress:
            for drafts in self.stored.groups(self.block):
                if drafts[0].plan_id in todo and len(drafts) == self.samples:
                    self.chunk.add(self._rows(self.stage.choose(drafts, logprobs)))
                    progress.advance(1)

    def _rows(self, drafts: list[Draft]) -> list[Outcome]:
        return [self._row(draft, place) for place, draft in enumerate(drafts)]

    def _row(self, draft: Draft, place: int) -> Outcome:
        status: Status = (
            "rejected" if draft.rejection else "accepted" if draft.ended or self.last else "intermediate"
        )
        plain = place == 0 and status != "intermediate"
        row_id = None if plain else digest(draft.plan_id, self.number, place)
        return self.rows.row(draft, self.stage.name, status, row_id)

    def _logprobs(self, engines: Engines) -> dict[str, float]:
        """Mean base log-prob of the target tokens of what the block made, scored first where it is not."""
        recipe, material = self.rows.material.recipe, self.rows.material
        step = next((s for s in recipe.steps if isinstance(s, Score)), Score(pipeline="score"))
        names = ", ".join(f"'{name}'" for name in self.block)
        made = (
            f"(SELECT * FROM outcomes WHERE digest = '{self.stored.digest}' AND status = 'intermediate' "
            f"AND stage IN ({names}) AND rejection IS NULL)"
        )
        score = ScoreRun(step, material, self.stored.store, self.rows.run_id, made, f"{self.rows.step} score")
        if score.missing():
            engines.close()  # its memory is wanted
            score.run()
        return score.mean_logprobs()
