"""Answers to a task's prompt, verified as they come."""

from dataclasses import dataclass

from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.ground_truth import GroundTruths
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import OneReply
from forgetless.pipelines.prompt import Prompt
from forgetless.pipelines.verification import Verification
from forgetless.schemas.outcome import Verdict
from forgetless.schemas.request import Message, Sampling
from forgetless.schemas.steps import Filters


@dataclass(frozen=True)
class Answering(OneReply):
    """The base model's, or another author's, answer to the prompt; or to `wording`, which has the prompt in it."""

    name: str
    author: Author
    material: Material
    truths: GroundTruths
    verification: Verification
    sampling: Sampling
    filters: Filters | None
    samples: int = 1
    wording: Prompt | None = None
    forbidden: tuple[str, ...] = ()
    """Phrases that no answer may hold, in any case."""

    @property
    def workers(self) -> int:
        return self.verification.workers

    def ask(self, draft: Draft) -> Ask:
        truth = self.truths[draft]
        if self.wording:
            text = self.wording.fill(prompt=truth.prompt, reference=truth.answer, expected=truth.reference)
            return self.author.ask([Message(role="user", content=text)], self.sampling)
        if self.author is self.material:
            return self.author.continued(draft.token_ids, self.sampling)
        return self.author.ask(truth.messages, self.sampling)

    def written(self, draft: Draft, answer: Answer) -> Draft:
        return answer.behind(draft).target(len(draft.token_ids)).said("assistant", answer.text)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        draft = self.written(draft, answer)
        if self.forbidden:
            draft = draft.judged(_voice(answer.text, self.forbidden))
        return self.verification.judge(draft, answer.text, self.truths[draft].reference)


def _voice(text: str, forbidden: tuple[str, ...]) -> Verdict:
    """Whether the text is an answer, and does not talk about the task of writing one."""
    found = next((phrase for phrase in forbidden if phrase.casefold() in text.casefold()), None)
    reason = f"says {found!r}" if found else ""
    return Verdict(verifier="forbidden", passed=found is None, score=float(found is None), reason=reason)
