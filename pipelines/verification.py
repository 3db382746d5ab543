"""Whether an answer is right, as a step of the recipe wants it decided."""

import os

from forgetless.curator.verifiers.verify import Verifier, verifier
from forgetless.pipelines.draft import Draft
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Rejection
from forgetless.schemas.steps import Derived


class Verification:
    """A step's verifier; where it is a judge, the judge's own stage decides and this one passes everything.

    Raises:
        UsageError: a verifier that the recipe does not allow to run.
    """

    def __init__(self, step: Derived, allow_code_execution: bool) -> None:
        self._runs_code = step.verifier == "code"
        self._verifier: Verifier | None = None
        if step.verifier not in (None, "judge"):
            self._verifier = verifier(str(step.verifier), allow_code_execution)

    @property
    def workers(self) -> int:
        """Programs run in processes of their own, so that several can be waited for."""
        return (os.cpu_count() or 1) if self._runs_code else 1

    def problem(self, reference: str) -> str | None:
        """Why `reference` cannot be used; asked before anything is spent. Programs are not tried."""
        if self._verifier is None or self._runs_code:
            return None
        try:
            self._verifier("", reference)
        except UsageError as error:
            return error.message
        return None

    def judge(self, draft: Draft, answer: str, reference: str) -> Draft:
        """The draft with the verdict on its answer; a wrong one refuses it."""
        if self._verifier is None:
            return draft
        try:
            return draft.judged(self._verifier(answer, reference))
        except UsageError as error:
            return draft.refused(Rejection(step="reference", reason=error.message))
