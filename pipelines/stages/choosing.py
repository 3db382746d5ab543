"""Which of a prompt's answers becomes its record, and what does where none is right."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from forgetless.pipelines.draft import Draft
from forgetless.pipelines.ground_truth import GroundTruths
from forgetless.schemas.base import digest
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Rule

NoneRight = Literal["drop", "reference", "minimum_change"]


@dataclass(frozen=True)
class ChoosingAnswers:
    """The first `keep` different right answers by `rule`; a right answer is one that nothing has refused.

    A prompt whose every request failed in the engine is rejected, whatever `none_right` says: nothing was answered.
    """

    truths: GroundTruths
    rule: Rule = "first_correct"
    keep: int = 1
    none_right: NoneRight = "drop"
    name: str = "choose"
    scored: bool = False

    def choose(self, drafts: list[Draft], logprobs: dict[str, float]) -> list[Draft]:
        right = [draft for draft in drafts if not draft.rejection]
        if not right:
            return [self._none(drafts)]
        kept = _distinct(self._ordered(right))[: self.keep]
        if self.keep > 1:
            kept = [
                replace(draft, metadata=draft.metadata | {"place": i + 1}) for i, draft in enumerate(kept)
            ]
        return [replace(draft, ended=True) for draft in kept]

    def _ordered(self, right: list[Draft]) -> list[Draft]:
        """Best first. Samples are told apart by their row ids, whose digests are as good as random numbers."""
        if self.rule == "lowest_perplexity":
            return sorted(right, key=_surprise)
        if self.rule == "random_correct":
            return sorted(right, key=lambda draft: digest("random_correct", draft.previous_id))
        return right

    def _none(self, drafts: list[Draft]) -> Draft:
        wrong = [draft for draft in drafts if any(not verdict.passed for verdict in draft.verdicts)]
        answered = any(draft.rejection and draft.rejection.step != "engine" for draft in drafts)
        if self.none_right == "reference" and answered:
            first = replace(drafts[0], rejection=None, fallback="reference", ended=True)
            return self.truths[first].answered(first)
        if self.none_right == "minimum_change" and wrong:
            return replace(min(wrong, key=_surprise), rejection=None)
        if len(drafts) == 1:
            return drafts[0]
        rejections = [draft.rejection for draft in drafts if draft.rejection]
        steps = Counter(rejection.step for rejection in rejections).most_common()
        listed = ", ".join(f"{step} {count}" for step, count in steps)
        reason = f"none of {len(drafts)} answers is right ({listed}); the first: {rejections[0].reason}"
        return replace(drafts[0], rejection=Rejection(step=steps[0][0], reason=reason, score=0, threshold=1))


def _distinct(drafts: list[Draft]) -> list[Draft]:
    """Without those that say the same as an earlier one: a second copy would be trained on twice."""
    first: dict[str, Draft] = {}
    for draft in drafts:
        first.setdefault(draft.messages[-1].content, draft)
    return list(first.values())


def _surprise(draft: Draft) -> float:
    """Mean negative log-prob of the answer's tokens as they were sampled: perplexity's order."""
    mean = draft.mean_logprob
    return float("inf") if mean is None else -mean
