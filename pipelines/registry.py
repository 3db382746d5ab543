"""Which function makes which step of a recipe a pipeline."""

from collections.abc import Callable
from typing import Any

from forgetless.pipelines.bos_replay import bos_replay
from forgetless.pipelines.imported import imported
from forgetless.pipelines.magpie import magpie
from forgetless.pipelines.pipeline import Material, Pipeline

PIPELINES: dict[str, Callable[[Any, Material], Pipeline]] = {
    "bos_replay": bos_replay,
    "magpie": magpie,
    "import": imported,
}
