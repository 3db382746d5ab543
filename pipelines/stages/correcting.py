"""A wrong answer, with as little changed as makes it right."""

from dataclasses import dataclass, replace

from rapidfuzz.distance import Levenshtein

from forgetless.pipelines.author import Author
from forgetless.pipelines.draft import Answer, Ask, Draft
from forgetless.pipelines.ground_truth import GroundTruths
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import OneReply
from forgetless.pipelines.prompt import Prompt
from forgetless.pipelines.verification import Verification
from forgetless.schemas.outcome import Rejection, Verdict
from forgetless.schemas.request import Message
from forgetless.schemas.steps import Edit, Filters


@dataclass(frozen=True)
class Correcting(OneReply):
    """The editor's version of an answer; its distance to the answer is a verdict, and the diff is kept."""

    author: Author
    material: Material
    truths: GroundTruths
    verification: Verification
    edit: Edit
    prompt: Prompt
    filters: Filters | None
    fallback: str | None = None
    """What the row is marked with, where correcting was not the plan."""
    name: str = "correct"

    @property
    def workers(self) -> int:
        return self.verification.workers

    def ask(self, draft: Draft) -> Ask:
        truth = self.truths[draft]
        text = self.prompt.fill(
            prompt=truth.prompt,
            reference=truth.answer,
            expected=truth.reference,
            answer=draft.messages[-1].content,
        )
        return self.author.ask([Message(role="user", content=text)], self.edit.sampling)

    def written(self, draft: Draft, answer: Answer) -> Draft:
        """The edit instead of the own answer."""
        fresh = self.truths[draft].asked(replace(draft, verdicts=[], fallback=self.fallback))
        fresh = replace(fresh, drawn=draft.drawn, model=draft.model)
        return answer.behind(fresh).target(len(fresh.token_ids)).said("assistant", answer.text)

    def extend(self, draft: Draft, answer: Answer) -> Draft:
        reference, own = self.truths[draft].reference, draft.messages[-1].content
        new = self.verification.judge(self.written(draft, answer), answer.text, reference)
        return self._measured(new, own, answer.text, draft.mean_logprob)

    def _measured(self, new: Draft, own: str, text: str, own_logprob: float | None) -> Draft:
        """With the edit distance as a verdict. Both texts are tokenised for it: sampled ids can cut words otherwise."""
        before, after = self.material.text_ids(own), self.material.text_ids(text)
        distance, longest = Levenshtein.distance(before, after), max(len(before), len(after), 1)
        decode = self.material.tokenizer.decode
        diff = [
            [
                step.tag,
                decode(before[step.src_start : step.src_end]),
                decode(after[step.dest_start : step.dest_end]),
            ]
            for step in Levenshtein.opcodes(before, after)
        ]
        edit = {"own": own, "own_logprob": own_logprob, "distance": distance, "diff": diff}
        said = f"{distance} of {longest} tokens changed"
        share = distance / longest
        verdict = Verdict(
            verifier="edit_distance", passed=share <= self.edit.max_distance, score=share, reason=said
        )
        return replace(new, metadata=new.metadata | {"edit": edit}).judged(verdict, self.edit.max_distance)


@dataclass(frozen=True)
class AcceptingEdits:
    """An edit that nothing has refused, and that the base model finds not much less likely than its own answer."""

    edit: Edit
    name: str = "accept"
    scored: bool = True

    def choose(self, drafts: list[Draft], logprobs: dict[str, float]) -> list[Draft]:
        (draft,) = drafts
        if draft.rejection:
            return [draft]
        new, own = logprobs.get(draft.previous_id or ""), draft.metadata["edit"]["own_logprob"]
        if new is None or own is None:
            reason = "its own answer came without log-probs"
            if own is not None:
                reason = "the base model could not score it: it is longer than the model's context"
            return [draft.refused(Rejection(step="logprob_drop", reason=reason))]
        drop = own - new
        verdict = Verdict(
            verifier="logprob_drop", passed=drop <= self.edit.max_drop, score=drop,
            reason=f"{drop:+.2f} nats per token below the own answer",
        )  # fmt: skip
        return [replace(draft.judged(verdict, self.edit.max_drop), ended=True)]
