"""A model's word on whether an answer is right (SSR: Huang et al. 2024)."""

from dataclasses import dataclass

from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.ground_truth import GroundTruths
from forgetless.pipelines.pipeline import OneReply
from forgetless.pipelines.prompt import Prompt
from forgetless.schemas.outcome import Verdict
from forgetless.schemas.request import Greedy, Message

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Judging(OneReply):
    """The judge's reply is constrained to yes or no, and becomes a verdict; the draft's text stays as it is."""

    name: str
    author: Author
    truths: GroundTruths
    prompt: Prompt
    filters: None = None
    finished: bool = False

    def ask(self, draft: Draft) -> Ask:
        truth, answer = self.truths[draft], draft.messages[-1].content
        return question(self.author, self.prompt, truth.prompt, truth.answer, truth.reference, answer)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        return draft.judged(verdict(answer.text))


def question(author: Author, wording: Prompt, prompt: str, reference: str, expected: str, answer: str) -> Ask:
    """Whether `answer` is right, asked of the judge."""
    text = wording.fill(prompt=prompt, reference=reference, expected=expected, answer=answer)
    return author.ask([Message(role="user", content=text)], Greedy(max_tokens=16)).choosing([YES, NO])


def verdict(said: str) -> Verdict:
    """The judge's reply as a verdict."""
    passed = said.strip() == YES
    return Verdict(
        verifier="judge", passed=passed, score=float(passed), reason=f"the judge says {said.strip()!r}"
    )
