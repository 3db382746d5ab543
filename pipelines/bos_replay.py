"""BOS replay: text that the model, or a checkpoint of it, writes from its start token alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from forgetless.curator.chat.format import start_ids
from forgetless.curator.store import Store
from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.gate import configuration
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Entry, OneReply, Pipeline
from forgetless.schemas.steps import BosReplay, Filters


@dataclass(frozen=True)
class Text(OneReply):
    """A text, up to the model's end token or the cap."""

    step: BosReplay
    material: Material
    author: Author
    name: str = "text"
    finished: bool = False
    distinct: bool = True

    @property
    def filters(self) -> Filters:
        return self.step.filters

    def ask(self, draft: Draft) -> Ask:
        return Ask(draft.token_ids, self.step.sampling, self.material.stop_ids, verbatim=True)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        start = len(draft.token_ids)
        return answer.behind(draft).target(start)


def bos_replay(step: BosReplay, material: Material) -> Pipeline:
    """Texts from BOS, or from the recipe's start token where the tokenizer has none."""
    author = material.replayer(step.writer)
    start = start_ids(material.tokenizer, material.recipe.model.start_token)
    settings = {
        "pipeline": step.pipeline, "seed": step.seed, **author.signature(), "start": start,
        "sampling": step.sampling.model_dump(), "filters": configuration(step.filters),
    }  # fmt: skip

    def entries(store: Store | None) -> Iterator[Entry]:
        for i in range(step.count):
            yield str(i), partial(Draft(ordinal=i).given, start)

    return Pipeline("bos_replay", settings, entries, [Text(step, material, author)], step.filters)
