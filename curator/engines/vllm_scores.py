"""vLLM as a backend that reads prompts: log-probs of their tokens, and nothing is generated."""

import os
from typing import Any

os.environ.setdefault("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")  # see `scoring_arguments`

import numpy as np
from vllm import SamplingParams
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from forgetless.curator.engines.arrays import packed
from forgetless.curator.engines.vllm import VllmBackend, engine_arguments
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result

BATCH_TOKENS = 2048
"""Tokens in a step on a GPU: their fp32 log-probs over a vocabulary of 128,000 take 1 GB, more than once."""


class ScoringBackend(VllmBackend):
    """A vLLM engine in this process whose results carry `prompt_scores`, with `top_k` alternatives per token."""

    def __init__(
        self, model: str, config: EngineConfig, trust_remote_code: bool, top_k: int, batch_tokens: int | None
    ) -> None:
        arguments = scoring_arguments(model, config, trust_remote_code, batch_tokens)
        super().__init__(arguments | {"max_logprobs": top_k})
        self._top_k = min(top_k, self._vocabulary)

    def _parameters(self, request: Request) -> SamplingParams:
        """The same k for all: vLLM computes a batch with its largest, and cuts. One token must be sampled."""
        return SamplingParams(
            prompt_logprobs=self._top_k, flat_logprobs=True, detokenize=False, max_tokens=1, temperature=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip

    def _result(self, request: Request, output: Any) -> Result:
        """vLLM lays positions end to end, each with the token that is there and then the most probable ones."""
        flat, width = output.prompt_logprobs, 1 + self._top_k
        scores = {
            "logprobs": packed(np.array(flat.logprobs, np.float32)),
            "token_ids": packed(np.array(flat.token_ids, np.int32)),
            "ranks": packed(np.array(flat.ranks[::width], np.int32)),
        }
        return Result(
            id=request.id, prompt_ids=list(output.prompt_token_ids), token_ids=[], logprobs=[],
            finish_reason="length", prompt_scores=scores,
        )  # fmt: skip


def scoring_arguments(
    model: str, config: EngineConfig, trust_remote_code: bool, batch_tokens: int | None
) -> dict[str, Any]:
    """What vLLM's EngineArgs are to be given.

    A prompt as long as the context leaves no room for the token that must be sampled: vLLM is told of one
    position more, which is never computed, since nothing follows that token.
    """
    arguments = engine_arguments(model, config, trust_remote_code)
    longest = (arguments["max_model_len"] or 0) + 1
    step = batch_tokens or (8192 if current_platform.is_cpu() else BATCH_TOKENS)
    # On a CPU prompts are not split over steps, so that the longest must fit into one.
    step = max(step, config.in_flight, longest if current_platform.is_cpu() else 0)
    arguments |= {"max_num_batched_tokens": step, "enable_prefix_caching": False}
    return arguments | ({"max_model_len": longest} if longest > 1 else {})
