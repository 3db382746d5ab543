"""Self-output: the model answers, several times; a right answer becomes the target (SSR, Huang et al. 2024)."""

from forgetless.pipelines.derived import Task
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline
from forgetless.pipelines.stages.choosing import ChoosingAnswers
from forgetless.schemas.steps import SelfOutput


def self_output(step: SelfOutput, material: Material) -> Pipeline:
    """Sample, verify, choose; where none is right and the recipe says so, correct one."""
    task = Task(step, material)
    stages = [
        *task.answers("sample", step.sampling, samples=step.samples),
        ChoosingAnswers(task.truths, step.choose, step.keep, step.none_right),
    ]
    settings = {
        "samples": step.samples, "sampling": step.sampling.model_dump(), "choose": step.choose,
        "keep": step.keep, "none_right": step.none_right,
    }  # fmt: skip
    if step.none_right == "minimum_change":
        stages += task.corrections(step.edit, fallback="minimum_change")
        settings |= task.edited(step.edit)
    return task.pipeline("self_output", stages, **settings)
