"""Results that are more, or less, than what was sampled."""

from forgetless.schemas.request import Request, Result


def failed(request: Request, reason: str) -> Result:
    """The result of a request that could not be answered."""
    return Result(
        id=request.id, prompt_ids=request.prompt_ids, token_ids=[], logprobs=[], finish_reason="error",
        error=reason,
    )  # fmt: skip


def chosen(request: Request, sampled: Result, text: str) -> Result:
    """`sampled` with the choice that its `text` is; an error where tokens ran out before it was one.

    Log-probs are left out: what draws a choice is a distribution cut down to the choices.
    """
    if text not in request.choices:
        reason = f"{text!r} is none of the choices {request.choices!r}, it ended by {sampled.finish_reason}"
        return failed(request, reason)
    return sampled.model_copy(update={"text": text, "logprobs": []})
