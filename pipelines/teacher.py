"""Teacher: another model's own answer to the task's prompts."""

from forgetless.pipelines.derived import Task
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline
from forgetless.pipelines.stages.choosing import ChoosingAnswers
from forgetless.schemas.steps import Teacher


def teacher(step: Teacher, material: Material) -> Pipeline:
    """Answer and verify; in the base model's ids, tokenised again where the teacher's vocabulary is another."""
    task = Task(step, material)
    stages = [
        *task.answers("answer", step.sampling, step.writer),
        ChoosingAnswers(task.truths, none_right=step.none_right),
    ]
    settings = {"sampling": step.sampling.model_dump(), "none_right": step.none_right}
    return task.pipeline("teacher", stages, **settings, **task.written_by(step.writer))
