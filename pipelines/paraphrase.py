"""Paraphrase: the reference answer in the model's own wording (SDFT, Yang et al. 2024)."""

from forgetless.pipelines.derived import VARIABLES, Task
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline
from forgetless.pipelines.prompt import Prompt
from forgetless.pipelines.stages.choosing import ChoosingAnswers
from forgetless.schemas.steps import Paraphrase


def paraphrase(step: Paraphrase, material: Material) -> Pipeline:
    """Reword and verify; a refused wording falls back on the reference where the recipe says so."""
    task = Task(step, material)
    wording = Prompt(step.prompt, "prompt", VARIABLES[:3])
    answers = task.answers("reword", step.sampling, wording=wording, forbidden=tuple(step.forbidden))
    stages = [*answers, ChoosingAnswers(task.truths, none_right=step.none_right)]
    return task.pipeline(
        "paraphrase", stages, prompt=step.prompt, sampling=step.sampling.model_dump(),
        forbidden=step.forbidden, none_right=step.none_right,
    )  # fmt: skip
