"""`forgetless bench generate`: a build beside raw `LLM.generate`, the same requests, alternating."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.benchmarks.random_llama import random_llama
from forgetless.curator.engines.child import environment
from forgetless.curator.models import resolve_model
from forgetless.curator.recipes import parse_recipe
from forgetless.schemas.errors import EngineError
from forgetless.schemas.recipe import Recipe

DEMO, RANDOM = "demo", "75m"
WORK = {DEMO: (1024, 256), RANDOM: (256, 128)}
"""Model → records and tokens of each, so that a run takes about half a minute on two cores."""


@dataclass(frozen=True)
class Round:
    """Both sides, one after the other, each a process of its own."""

    raw: dict[str, Any]
    build: dict[str, Any]
    load: float
    """Of the machine at the beginning: above 0 others were using it."""

    @property
    def ratio(self) -> float:
        """Tokens per second of the build for each of raw vLLM."""
        return float(self.build["tokens_per_second"] / self.raw["tokens_per_second"])


@dataclass(frozen=True)
class Comparison:
    """What was compared, and how it came out."""

    model: str
    records: int
    max_tokens: int
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        """Median of the rounds."""
        return statistics.median(r.ratio for r in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest of the rounds."""
        return min(r.ratio for r in self.rounds), max(r.ratio for r in self.rounds)


def compare(
    model: str,
    records: int | None = None,
    max_tokens: int | None = None,
    rounds: int = 3,
    engine: dict[str, Any] | None = None,
    told: Callable[[Round], None] = lambda _: None,
) -> Comparison:
    """BOS replay of `model` (demo, 75m, or a folder) through a build and through `LLM.generate`.

    `told` hears of each round as it ends. Which side goes first changes from round to round.

    Raises:
        RecipeError, ModelError: there is no such model.
        EngineError: a side failed.
    """
    usual = WORK.get(model, WORK[RANDOM])
    records, max_tokens = records or usual[0], max_tokens or usual[1]
    done: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="forgetless-bench-") as name:
        work = Path(name)
        recipe = _recipe(work, _folder(model), records, max_tokens, engine or {})
        resolve_model(recipe.model)  # what is wrong with it is said here
        _run("plan", _stored(recipe, "plan"))
        for number in range(rounds):
            load, order = os.getloadavg()[0], ["raw", "build"] if number % 2 else ["build", "raw"]
            sides: dict[str, dict[str, Any]] = {}
            for kind in order:
                stored = _stored(recipe, f"{kind}-{number}")
                _run(kind, stored)
                sides[kind] = json.loads(_outcome(stored).read_text())
            done.append(Round(sides["raw"], sides["build"], load))
            told(done[-1])
    return Comparison(model, records, max_tokens, done)


def _folder(model: str) -> Path:
    if model == RANDOM:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        return random_llama(cache / "forgetless" / "bench" / "random-llama")
    if model == DEMO:
        from forgetless.pipelines import demo

        return Path(demo.__path__[0]) / "model"
    return Path(model).resolve()


def _recipe(work: Path, model: Path, records: int, max_tokens: int, engine: dict[str, Any]) -> Recipe:
    step = {"pipeline": "bos_replay", "count": records, "sampling": {"max_tokens": max_tokens}}
    data = {"store": "store", "model": {"path": str(model)}, "engine": engine, "steps": [step]}
    return parse_recipe(data, base=work)


def _stored(recipe: Recipe, name: str) -> Recipe:
    """With a store of its own: every side begins with an empty one."""
    return recipe.model_copy(update={"store": recipe.store.with_name(name)})


def _outcome(recipe: Recipe) -> Path:
    return recipe.store.with_suffix(".out")


def _run(kind: str, recipe: Recipe) -> None:
    """One side in a fresh process."""
    file, log = recipe.store.with_suffix(".recipe"), recipe.store.with_suffix(".err")
    file.write_text(recipe.model_dump_json())
    side = [kind, str(file), str(_outcome(recipe))]
    command = [sys.executable, "-P", "-m", "forgetless.benchmarks.side", *side]
    with log.open("wb") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream, env=environment(), check=False)
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
        raise EngineError(f"the {kind} side failed: {last}", "check --model, or try fewer --records")
