"""One side of `forgetless bench generate`, in a process of its own.

Both start an engine with the same settings in the same environment, warm it up with the same requests, and
then run the same requests with the clock on. What libraries print goes to stderr.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from forgetless.curator.engines import ChildEngine, EngineStats
from forgetless.pipelines.build import Build
from forgetless.schemas.base import digest
from forgetless.schemas.model import Engine
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.request import Request, Result

WARM_UP_TOKENS = 8
REQUESTS = "requests.jsonl"


class Watched:
    """An engine with a watch: what entered it, and when the first did."""

    def __init__(self, engine: ChildEngine | None = None) -> None:
        """Without an engine it takes the requests and answers none, which is how they are planned."""
        self._engine = engine
        self.stats = engine.stats if engine else EngineStats()
        self.requests: list[Request] = []
        self.began = 0.0

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        watched = self._watch(requests)
        if self._engine:
            yield from self._engine.generate(watched)
        else:
            list(watched)

    def close(self) -> None:
        """Not part of the work: the owner of the engine ends it."""

    def _watch(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.began = self.began or time.monotonic()
            self.requests.append(request)
            yield request


def plan(recipe: Recipe) -> list[Request]:
    """The requests that a build of `recipe` in an empty store makes."""
    watched = Watched()
    Build(recipe, watched).run()
    return watched.requests


def run_build(recipe: Recipe, requests: list[Request]) -> dict[str, Any]:
    """From the first request's way into the engine to the build's last commit."""
    engine = ChildEngine(Path(recipe.model.path), _engine(recipe), recipe.store.with_suffix(".log"))
    list(engine.generate(_warm_up(requests, _engine(recipe))))
    warm = engine.stats.tokens
    watched = Watched(engine)
    Build(recipe, watched).run()
    seconds = time.monotonic() - watched.began
    engine.close()
    return _outcome(watched.requests, engine.stats.tokens - warm, seconds)


def run_raw(recipe: Recipe, requests: list[Request]) -> dict[str, Any]:
    """`LLM.generate`, from the call to its return."""
    from forgetless.curator.engines.vllm import engine_arguments  # first: it sets vLLM's environment

    from vllm import LLM  # isort: skip

    llm = LLM(**engine_arguments(recipe.model.path, _engine(recipe)))
    _generate(llm, _warm_up(requests, _engine(recipe)))
    tokens, seconds = _generate(llm, requests)
    return _outcome(requests, tokens, seconds)


def _engine(recipe: Recipe) -> Engine:
    """What the benchmark put into its recipe, which is never an endpoint."""
    assert isinstance(recipe.engine, Engine)
    return recipe.engine


def _generate(llm: Any, requests: list[Request]) -> tuple[int, float]:
    from vllm import TokensPrompt

    from forgetless.curator.engines.vllm import sampling_params

    prompts = [TokensPrompt(prompt_token_ids=request.prompt_ids) for request in requests]
    parameters = [sampling_params(request) for request in requests]
    began = time.monotonic()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.monotonic() - began
    return sum(len(output.outputs[0].token_ids) for output in outputs), seconds


def _warm_up(requests: list[Request], engine: Engine) -> list[Request]:
    """As many requests at once as there will be, and only a few tokens each."""
    return [
        request.model_copy(
            update={"sampling": request.sampling.model_copy(update={"max_tokens": WARM_UP_TOKENS})}
        )
        for request in requests[: engine.in_flight]
    ]


def _outcome(requests: list[Request], tokens: int, seconds: float) -> dict[str, Any]:
    """What is compared; `asked` tells whether two sides did the same."""
    asked = digest(sorted(request.model_dump_json() for request in requests))
    return {
        "asked": asked, "requests": len(requests), "tokens": tokens, "seconds": seconds,
        "tokens_per_second": tokens / seconds,
    }  # fmt: skip


def main() -> None:
    """`side plan|raw|build RECIPE.json OUT`: plan writes the requests beside the recipe, the others read them."""
    kind, recipe_file, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    recipe = Recipe.model_validate_json(recipe_file.read_text())
    file = recipe_file.parent / REQUESTS
    if kind == "plan":
        file.write_text("".join(request.model_dump_json() + "\n" for request in plan(recipe)))
        return
    requests = [Request.model_validate_json(line) for line in file.read_text().splitlines()]
    outcome = {"raw": run_raw, "build": run_build}[kind](recipe, requests)
    out.write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
