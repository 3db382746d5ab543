"""Which function makes which step of a recipe a pipeline."""

from collections.abc import Callable
from typing import Any

from forgetless.pipelines.bos_replay import bos_replay
from forgetless.pipelines.imported import imported
from forgetless.pipelines.magpie import magpie
from forgetless.pipelines.material import Material
from forgetless.pipelines.minimum_change import minimum_change
from forgetless.pipelines.paraphrase import paraphrase
from forgetless.pipelines.pipeline import Pipeline
from forgetless.pipelines.self_output import self_output
from forgetless.pipelines.teacher import teacher

PIPELINES: dict[str, Callable[[Any, Material], Pipeline]] = {
    "bos_replay": bos_replay,
    "magpie": magpie,
    "import": imported,
    "self_output": self_output,
    "paraphrase": paraphrase,
    "minimum_change": minimum_change,
    "teacher": teacher,
}
