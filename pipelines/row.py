"""A draft as a row of the store."""

import json
from dataclasses import dataclass

from forgetless.pipelines.draft import Draft
from forgetless.pipelines.material import Material
from forgetless.pipelines.pipeline import Pipeline
from forgetless.schemas.outcome import Outcome, Status


@dataclass(frozen=True)
class RowMaker:
    """What all rows of one step in one run have in common."""

    step: str
    pipeline: Pipeline
    material: Material
    run_id: str

    def row(self, draft: Draft, stage: str, status: Status, row_id: str | None = None) -> Outcome:
        """The row that a draft leaves at a stage; it ends under its plan's id where it is given no other."""
        text = self.material.tokenizer.decode(draft.token_ids) if draft.text is None else draft.text
        sampled = draft.ids_from == "engine"
        return Outcome(
            id=row_id or draft.plan_id, plan_id=draft.plan_id, run_id=self.run_id, step=self.step,
            digest=self.pipeline.digest, pipeline=self.pipeline.configuration["pipeline"], stage=stage,
            kind=self.pipeline.kind, status=status, rejection=draft.rejection, task=draft.task,
            previous_id=draft.previous_id, parent_id=draft.parent_id, ordinal=draft.ordinal,
            messages=draft.messages, text=text, token_ids=draft.token_ids, target_spans=draft.spans,
            fallback=draft.fallback, **draft.drawn, verdicts=draft.verdicts,
            sampled_logprobs=draft.logprobs if sampled else None, ids_from=draft.ids_from,
            tokenizer=self.material.vocabulary, model=draft.model,
            metadata=json.dumps(draft.metadata, ensure_ascii=False),
        )  # fmt: skip
