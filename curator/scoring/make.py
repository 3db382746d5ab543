"""Which scorer a recipe asks for."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import torch

from forgetless.curator.scoring.pool import ScorerPool
from forgetless.curator.scoring.scorer import Scorer
from forgetless.curator.scoring.stats import Record, Scored
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.model import Endpoint
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.steps import Score


class Scoring(Protocol):
    """What scores records."""

    def score(self, records: Iterable[Record], batch_tokens: int | None = None) -> Iterator[Scored]:
        """(id, statistics) of every record, in any order; about `batch_tokens` tokens in one forward pass."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


def scorer_of(step: Score, folder: Path, engine: EngineConfig | Endpoint, trust: bool, log: Path) -> Scoring:
    """The scorer that `step` describes, with the model in `folder`.

    Args:
        engine: the recipe's, whose settings a vLLM scorer takes.
        trust: whether code shipped with the model may run.
        log: file for what a child process prints.

    Raises:
        RecipeError: more devices than there are.
    """
    if step.engine == "vllm":
        from forgetless.curator.scoring.vllm import VllmScorer

        config = engine if isinstance(engine, EngineConfig) else EngineConfig()
        config = config.model_copy(update={"kind": "vllm", "dtype": step.dtype})
        return VllmScorer(folder, config, step.top_k, log, trust)
    devices = _devices(step.devices)
    if len(devices) == 1:
        return Scorer(folder, step.dtype, step.top_k, trust)
    return ScorerPool(folder, step.dtype, step.top_k, trust, devices)


def _devices(wanted: int | None) -> list[str]:
    there = torch.cuda.device_count()
    if not there:
        return ["cpu"] * (wanted or 1)
    if wanted and wanted > there:
        raise RecipeError(
            f"score: devices: {wanted}, and there are {there}", "ask for fewer, or for none by number"
        )
    return [f"cuda:{number}" for number in range(wanted or there)]
