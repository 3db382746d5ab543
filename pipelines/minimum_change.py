"""Minimum change: the model's own answer, with only what is wrong corrected by an editor."""

from forgetless.pipelines.derived import Task
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline
from forgetless.pipelines.stages.choosing import ChoosingAnswers
from forgetless.schemas.steps import MinimumChange


def minimum_change(step: MinimumChange, material: Material) -> Pipeline:
    """Answer and verify; a right answer stays untouched, a wrong one is corrected within the edit's limits."""
    task = Task(step, material)
    stages = [
        *task.answers("answer", step.sampling),
        ChoosingAnswers(task.truths, none_right="minimum_change"),
        *task.corrections(step.edit),
    ]
    settings = {"sampling": step.sampling.model_dump(), **task.edited(step.edit)}
    return task.pipeline("minimum_change", stages, **settings)
