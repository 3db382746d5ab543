"""What a recipe names, planned and made."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from forgetless.curator.engines import Engine
from forgetless.curator.progress import note
from forgetless.curator.store import Store
from forgetless.curator.store.runs import recorded_run
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.pipelines.author import Author
from forgetless.pipelines.engines import Engines
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Choosing, Stage
from forgetless.pipelines.registry import PIPELINES
from forgetless.pipelines.run_step import StepRun
from forgetless.pipelines.score import ScoreRun
from forgetless.pipelines.sets import other_sets
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.steps import Derived, Score


@dataclass
class StepPlan:
    """What a step would do."""

    name: str
    pipeline: str
    planned: int
    """Records planned, or to be scored."""
    there: int
    """Of these, already in the store."""
    stages: list[str]
    """Requests are made once per record and stage; `sample ×8` makes eight, choosing stages none."""
    digest: str
    notes: list[str] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """What is to be made."""
        return self.planned - self.there


@dataclass
class BuildReport:
    """What a build did."""

    run_id: str | None
    """None where there was nothing to do."""
    snapshot: int | None
    steps: list[dict[str, Any]]
    """Per step: name, accepted, rejected, max_reject_share."""
    engines: dict[str, dict[str, int]] = field(default_factory=dict)
    """What each model's engine did: requests, prompt_tokens, tokens, retries, restarts."""

    def too_many_rejects(self) -> list[str]:
        """Names of the steps whose share of rejects is over what they allow."""
        return [
            step["name"]
            for step in self.steps
            if step["rejected"] > step["max_reject_share"] * (step["accepted"] + step["rejected"])
        ]


class Build:
    """A recipe, checked as a whole and ready to plan or run.

    Raises:
        RecipeError, TemplateError, ModelError, EngineError: before anything expensive happens.
    """

    def __init__(self, recipe: Recipe, engine: Engine | None = None, verb: str = "build") -> None:
        """`engine` replaces the one the recipe names; `verb` is what the run is recorded as."""
        self.recipe = recipe
        self.run_id = uuid.uuid4().hex
        self.material = Material(recipe)
        self._engine = engine
        self._verb = verb
        self._pipelines = {
            step.name or step.pipeline: PIPELINES[step.pipeline](step, self.material)
            for step in recipe.steps
            if not isinstance(step, Score)
        }
        if len(set(self.digests().values())) < len(self._pipelines):
            hint = "give one of them another `seed`; `sources` and `limit` do not make rows different"
            raise RecipeError("two steps would make the same rows", hint)

    def digests(self) -> dict[str, str]:
        """Step → the digest of the set of rows it makes."""
        return {name: pipeline.digest for name, pipeline in self._pipelines.items()}

    def plan(self, store: Store | None) -> list[StepPlan]:
        """What each step would do, given what the store holds already (None: no store yet)."""
        plans: list[StepPlan] = []
        for step in self.recipe.steps:
            name = step.name or step.pipeline
            if isinstance(step, Score):
                plans.append(self._score_plan(step, store, plans))
                continue
            pipeline = self._pipelines[name]
            notes: list[str] = []
            if store:
                planned, there = StepRun(name, pipeline, self.material, store, self.run_id).count()
                notes = other_sets(store, name, pipeline.digest, pipeline.configuration)
            else:
                planned, there = sum(1 for _ in pipeline.plan(None)), 0
            if isinstance(step, Derived) and (
                fresh := sum(p.missing for p in plans if p.pipeline == "import")
            ):
                notes.append(f"up to {fresh:,} more prompts are yet to be imported")
            stages = [_in_words(stage) for stage in pipeline.stages] or ["import"]
            plans.append(StepPlan(name, step.pipeline, planned, there, stages, pipeline.digest, notes))
        return plans

    def run(self) -> BuildReport:
        """Make what is missing, then take a snapshot. What is committed stays, however this ends."""
        store = Store.create(self.recipe.store)
        with store.lock():
            plans = self.plan(store)
            for plan in plans:
                for line in plan.notes if plan.pipeline != "score" else []:
                    note(f"{plan.name}: {line}")
            if not any(plan.missing for plan in plans):
                if (
                    not store.newest_is_current()
                ):  # a run that was stopped between its last row and its snapshot
                    store.take_snapshot(self.run_id)
                return BuildReport(None, store.newest_snapshot(), self._counts(store))
            steps = {p.digest: {"name": name} | p.configuration for name, p in self._pipelines.items()}
            with recorded_run(store, self.run_id, self._verb, self.recipe, steps) as summary:
                self._run_steps(store, summary)
            snapshot = store.take_snapshot(self.run_id)
        return BuildReport(self.run_id, snapshot, self._counts(store), summary["engines"])

    def _run_steps(self, store: Store, summary: dict[str, Any]) -> None:
        ensure_vocab(store, self.material.tokenizer, self.material.vocabulary)
        given: dict[Author, Engine] = {self.material: self._engine} if self._engine else {}
        engines = Engines(store.path / "logs" / f"{self.run_id}.log", given)
        try:
            for step in self.recipe.steps:
                if isinstance(step, Score):
                    engines.close()  # its memory is wanted; it starts again if a later step needs it
                    ScoreRun(step, self.material, store, self.run_id).run()
                else:
                    name = step.name or step.pipeline
                    StepRun(name, self._pipelines[name], self.material, store, self.run_id).run(engines)
        finally:
            engines.close()
            summary["engines"] = engines.summary()

    def _score_plan(self, step: Score, store: Store | None, before: list[StepPlan]) -> StepPlan:
        fresh = sum(plan.missing for plan in before if plan.pipeline != "score")
        run = ScoreRun(step, self.material, store, self.run_id) if store else None
        notes = [f"up to {fresh:,} of them are yet to be made"] if fresh else []
        scorer = run.scorer() if run else ""
        missing = fresh + (run.missing() if run else 0)
        return StepPlan(step.name, step.pipeline, missing, 0, ["score"], scorer, notes)

    def _counts(self, store: Store) -> list[dict[str, Any]]:
        rows = store.query(
            "SELECT digest, count(*) FILTER (status = 'accepted') AS accepted, "
            "count(*) FILTER (status = 'rejected') AS rejected FROM outcomes GROUP BY digest"
        ).to_pylist()
        by_digest = {row["digest"]: (row["accepted"], row["rejected"]) for row in rows}
        counts = []
        for step in self.recipe.steps:
            name = step.name or step.pipeline
            if isinstance(step, Score):
                accepted, rejected = ScoreRun(step, self.material, store, self.run_id).counts()
            else:
                accepted, rejected = by_digest.get(self._pipelines[name].digest, (0, 0))
            share = step.max_reject_share
            counts.append(
                {"name": name, "accepted": accepted, "rejected": rejected, "max_reject_share": share}
            )
        return counts


def _in_words(stage: Stage) -> str:
    """A stage's name, and how many requests it makes per record if that is more than one."""
    samples = 1 if isinstance(stage, Choosing) else stage.samples
    return stage.name if samples == 1 else f"{stage.name} ×{samples}"
