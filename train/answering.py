"""How a model answers, the most probable token at a time: in this process, or in an engine."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from forgetless.curator.engines.make import engine_of
from forgetless.curator.progress import Progress
from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Engine
from forgetless.schemas.request import Greedy, Request
from forgetless.train.asking import Answer, Asking
from forgetless.train.measures.measure import Probe

QUESTIONS_AT_ONCE = 64

Answers = dict[Probe, list[Answer]]
"""One answer per prompt of each probe."""


def answers_here(lm: Any, asking: Asking, probe: Probe, progress: Progress) -> list[Answer]:
    """The answers of a model in this process. Prompts of like length are asked together."""
    order = sorted(range(len(probe.prompts)), key=lambda place: len(probe.prompts[place]))
    answers: dict[int, Answer] = {}
    for first in range(0, len(order), QUESTIONS_AT_ONCE):
        places = order[first : first + QUESTIONS_AT_ONCE]
        prompts = [probe.prompts[place] for place in places]
        continuations = greedy(lm, prompts, probe.max_tokens, asking.end_ids)
        answers |= zip(places, map(asking.answer, continuations), strict=True)
        progress.advance(len(places))
    return [answers[place] for place in range(len(order))]


def greedy(lm: Any, prompts: Sequence[list[int]], max_tokens: int, stop: Sequence[int]) -> list[list[int]]:
    """The most probable continuation of each prompt; prompts are padded on the left."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    input_ids = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts], device=lm.device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=lm.device)
    settings = GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, eos_token_id=list(stop) or None, pad_token_id=0
    )
    with torch.no_grad():
        output = lm.generate(input_ids, attention_mask=mask, generation_config=settings)
    return output[:, width:].tolist()


def answers_of_engine(
    config: Engine, folder: Path, asking: Asking, probes: Sequence[Probe], progress: Progress, trust: bool
) -> Answers:
    """The answers of the model in `folder`, in an engine that is gone afterwards, its memory free again.

    Raises:
        EngineError: the engine cannot be started, or cannot answer a prompt.
    """
    stop_texts = asking.chat.assistant_stop_texts if asking.chat else []
    requests = (
        Request(
            id=f"{number}-{place}", prompt_ids=ids, sampling=Greedy(max_tokens=probe.max_tokens), seed=0,
            stop_ids=asking.end_ids, stop_texts=stop_texts,
        )
        for number, probe in enumerate(probes)
        for place, ids in enumerate(probe.prompts)
    )  # fmt: skip
    engine = engine_of(config, folder, Path(mkdtemp(prefix="forgetless-")) / "engine.log", trust)
    said: dict[str, Answer] = {}
    try:
        for result in engine.generate(requests):
            if result.error:
                raise EngineError(f"the {config.kind} engine cannot answer a prompt: {result.error}")
            said[result.id] = asking.answer(result.token_ids)
            progress.advance(1)
    finally:
        engine.close()
    return {
        probe: [said[f"{number}-{place}"] for place in range(len(probe.prompts))]
        for number, probe in enumerate(probes)
    }
