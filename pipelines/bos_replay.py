"""BOS self-replay: text that the model writes from its start token alone (LAMOL's replay, without a task)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from forgetless.curator.chat.format import start_ids
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.pipeline import Entry, Material, Pipeline
from forgetless.schemas.steps import BosReplay


@dataclass(frozen=True)
class Text:
    """A text, up to the model's end token or the cap."""

    step: BosReplay
    material: Material
    name: str = "text"
    finished: bool = False
    distinct: bool = True

    def ask(self, draft: Draft) -> Ask:
        return Ask(draft.token_ids, self.step.sampling, self.material.stop_ids)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        start = len(draft.token_ids)
        return draft.sampled(answer.ids + answer.end_ids, answer.logprobs + answer.end_logprobs).target(start)


def bos_replay(step: BosReplay, material: Material) -> Pipeline:
    """Texts from BOS, or from the recipe's start token where the tokenizer has none."""
    start = start_ids(material.tokenizer, material.recipe.model.start_token)
    configuration = {
        "pipeline": step.pipeline, "seed": step.seed, **material.writer(), "start": start,
        "sampling": step.sampling.model_dump(), "filters": step.filters.model_dump(),
    }  # fmt: skip

    def entries() -> Iterator[Entry]:
        for i in range(step.count):
            yield str(i), partial(Draft(ordinal=i).given, start)

    return Pipeline("bos_replay", configuration, entries, [Text(step, material)], step.filters)
