"""A recipe's judge, tried on answers that lie in a file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from forgetless.pipelines.derived import VARIABLES
from forgetless.pipelines.engines import Engines
from forgetless.pipelines.material import Material
from forgetless.pipelines.prompt import Prompt
from forgetless.pipelines.stages.judging import question, verdict
from forgetless.schemas.outcome import Verdict
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.request import Request
from forgetless.schemas.steps import Derived, Judge


@dataclass(frozen=True)
class JudgedRow:
    """An answer, and what it is to be judged by."""

    prompt: str
    answer: str
    reference: str


def judge_rows(recipe: Recipe, rows: Iterable[JudgedRow]) -> Iterator[tuple[int, Verdict | str]]:
    """Place and verdict of each row as they are judged, or why there is none. The judge is that of the first
    step that is verified by one, else the base model with the ordinary prompt."""
    steps = [s for s in recipe.steps if isinstance(s, Derived) and s.verifier == "judge"]
    judge = steps[0].judge if steps else Judge()
    material = Material(recipe)
    author = material.author(judge.writer)
    prompt = Prompt(judge.prompt, "judge.prompt", VARIABLES)

    asked = [question(author, prompt, row.prompt, row.reference, row.reference, row.answer) for row in rows]
    requests = (
        Request(
            id=str(place), prompt_ids=ask.prompt_ids, messages=ask.messages, sampling=ask.sampling, seed=0,
            stop_ids=ask.stop_ids, stop_texts=ask.stop_texts, choices=ask.choices,
        )
        for place, ask in enumerate(asked)
    )  # fmt: skip
    engines = Engines(Path(mkdtemp(prefix="forgetless-")) / "engine.log")  # there may be no store yet
    try:
        for result in engines.of(author).generate(requests):
            place = int(result.id)
            yield place, result.error or verdict(author.text(result, asked[place]))
    finally:
        engines.close()
