"""What ways of answering a task's prompts anew share: the plan over ground truth, judging, correcting."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from forgetless.pipelines.author import Author
from forgetless.pipelines.gate import configuration
from forgetless.pipelines.ground_truth import GroundTruths
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline, Stage
from forgetless.pipelines.prompt import Prompt
from forgetless.pipelines.stages.answering import Answering
from forgetless.pipelines.stages.correcting import AcceptingEdits, Correcting
from forgetless.pipelines.stages.judging import Judging
from forgetless.pipelines.verification import Verification
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.outcome import Kind
from forgetless.schemas.request import Sampling
from forgetless.schemas.steps import Derived, Edit

VARIABLES = ("prompt", "reference", "expected", "answer")
"""What prompts about an answer can use; one that asks for an answer has none yet."""


@dataclass(frozen=True)
class Task:
    """A step that answers ground truth, with what its stages are made of."""

    step: Derived
    material: Material

    @cached_property
    def verification(self) -> Verification:
        """The step's verifier."""
        return Verification(self.step, self.material.recipe.allow_code_execution)

    @cached_property
    def truths(self) -> GroundTruths:
        """What is to be answered."""
        return GroundTruths(self.step.sources, self.step.limit, self.material.vocabulary, self.verification)

    def answers(self, name: str, sampling: Sampling, writer: str | None = None, **more: Any) -> list[Stage]:
        """Answers of the writer called so (None: the base model), each verified, by a judge if the step has one."""
        author = self._instructed(writer) if writer or "wording" in more else self.material
        stage = Answering(
            name, author, self.material, self.truths, self.verification, sampling, self.step.filters, **more
        )
        return [stage, *self._judged("judge")]

    def corrections(self, edit: Edit, fallback: str | None = None) -> list[Stage]:
        """Answers that were not right, corrected, judged again and held against the edit's limits."""
        if self.step.verifier is None:
            raise RecipeError("minimum change needs to know what is wrong", "name a `verifier`")
        prompt = Prompt(edit.prompt, "edit.prompt", VARIABLES)
        author = self._instructed(edit.writer)
        correct = Correcting(
            author, self.material, self.truths, self.verification, edit, prompt, self.step.filters, fallback
        )
        return [correct, *self._judged("judge_edit"), AcceptingEdits(edit)]

    def pipeline(self, kind: Kind, stages: list[Stage], **settings: Any) -> Pipeline:
        """The pipeline of these stages; `settings` are what changes its text beside what all such steps have."""
        judge = self.step.judge
        everything = {
            "pipeline": kind, "seed": self.step.seed, **self.material.signature(),
            "template": self.material.template(), "verifier": self.step.verifier,
            "filters": configuration(self.step.filters), **settings,
        }  # fmt: skip
        if self.step.verifier == "judge":
            everything["judge"] = {"prompt": judge.prompt, **self.written_by(judge.writer)}
        return Pipeline(kind, everything, self.truths.entries, stages, self.step.filters)

    def written_by(self, writer: str | None) -> dict[str, Any]:
        """What another model's text depends on, for a configuration."""
        author = self.material.author(writer)
        return {"writer": author.signature() | {"template": author.template()}}

    def edited(self, edit: Edit) -> dict[str, Any]:
        """What a corrected text depends on, for a configuration."""
        return {"edit": edit.model_dump(mode="json", exclude={"writer"}) | self.written_by(edit.writer)}

    def _judged(self, name: str) -> list[Stage]:
        if self.step.verifier != "judge":
            return []
        judge = self.step.judge
        prompt = Prompt(judge.prompt, "judge.prompt", VARIABLES)
        return [Judging(name, self._instructed(judge.writer), self.truths, prompt)]

    def _instructed(self, writer: str | None) -> Author:
        """The writer called so, told what to do in a user's turn.

        Raises:
            TemplateError: it has no chat template, or one that cannot be cut.
        """
        author = self.material.author(writer)
        if author.folder is not None:
            _ = author.chat
        return author
