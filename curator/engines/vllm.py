"""vLLM as a backend, driven by add_request and step instead of the `generate` barrier."""

import os
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # no process of vLLM's own that could outlive us
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import psutil
import torch
from transformers import AutoConfig
from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
from vllm.exceptions import VLLMError
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.utils.cpu_resource_utils import get_memory_node_info

from forgetless.curator.engines.results import chosen, failed
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result


class VllmBackend:
    """A vLLM engine in this process, made with `arguments`."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        self._vocabulary = int(self._engine.model_config.get_vocab_size())
        self._in_flight: dict[str, Request] = {}

    def add(self, request: Request) -> Result | None:
        try:
            if max(request.prompt_ids, default=0) >= self._vocabulary:
                raise ValueError(f"token {max(request.prompt_ids)} is outside the vocabulary")
            prompt = TokensPrompt(prompt_token_ids=request.prompt_ids)
            self._engine.add_request(request.id, prompt, self._parameters(request))
        except (ValueError, VLLMError) as error:
            return failed(request, " ".join(str(error).split()))
        self._in_flight[request.id] = request
        return None

    def step(self) -> list[Result]:
        outputs: list[Any] = self._engine.step()
        done = [output for output in outputs if output.finished]
        return [self._result(self._in_flight.pop(output.request_id), output) for output in done]

    def pending(self) -> bool:
        return bool(self._in_flight)

    def _parameters(self, request: Request) -> SamplingParams:
        return sampling_params(request)

    def _result(self, request: Request, output: Any) -> Result:
        completion = output.outputs[0]
        ids = list(completion.token_ids)
        seen = Result(
            id=request.id, prompt_ids=list(output.prompt_token_ids), token_ids=ids, logprobs=[],
            finish_reason=completion.finish_reason,
        )  # fmt: skip
        if request.choices:
            return chosen(request, seen, completion.text)
        logprobs = [step[i].logprob for step, i in zip(completion.logprobs, ids, strict=True)]
        return seen.model_copy(update={"logprobs": logprobs})


def engine_arguments(model: str, config: EngineConfig, trust_remote_code: bool = False) -> dict[str, Any]:
    """What vLLM's EngineArgs, or LLM, are to be given for the model in a folder."""
    saved = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    # vLLM's own "auto" turns models saved in fp32 into half precision.
    dtype = str(saved.dtype or "auto").removeprefix("torch.") if config.dtype == "auto" else config.dtype
    limit = config.max_model_len or getattr(saved, "max_position_embeddings", None)
    memory = _cpu_memory(saved, dtype, config, limit or 4096) if current_platform.is_cpu() else {}
    return {
        "model": model, "dtype": dtype, "max_model_len": limit, "seed": 0, "max_num_seqs": config.in_flight,
        "gpu_memory_utilization": config.memory_share or 0.9, "enforce_eager": config.enforce_eager,
        "tensor_parallel_size": config.tensor_parallel, "trust_remote_code": trust_remote_code,
        "load_format": "safetensors", "generation_config": "vllm", "logprobs_mode": "raw_logprobs",
        "disable_log_stats": True, **memory,
    }  # fmt: skip


def sampling_params(request: Request) -> SamplingParams:
    """vLLM's form of a request's sampling: own seed, the sampled token's raw log-prob, results when done.

    A choice ends with the model's end of text, whatever the request's own ends are: its grammar knows no
    other. Its log-probs would be those of the masked distribution.
    """
    common = {
        "temperature": request.sampling.temperature, "top_p": request.sampling.top_p,
        "top_k": request.sampling.top_k, "max_tokens": request.sampling.max_tokens, "seed": request.seed,
        "stop_token_ids": request.stop_ids, "output_kind": RequestOutputKind.FINAL_ONLY,
    }  # fmt: skip
    if request.choices:
        return SamplingParams(**common, structured_outputs=StructuredOutputsParams(choice=request.choices))
    return SamplingParams(
        **common, stop=request.stop_texts or None, include_stop_str_in_output=True, ignore_eos=True, logprobs=0,
        detokenize=bool(request.stop_texts),
    )  # fmt: skip


def _cpu_memory(saved: Any, dtype: str, config: EngineConfig, limit: int) -> dict[str, Any]:
    """Cache size and scheduling on a CPU.

    vLLM would take a share of one memory node whatever the model needs; here it is what the requests in
    flight can fill, up to a share of what is free. Prompts are not split over steps: taking a split
    request's random state back fails on CPU generators ("CPU Generator does not use offset", vLLM 0.32).
    """
    text = saved.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    token_bytes = 2 * text.num_hidden_layers * heads * size * getattr(torch, dtype, torch.float32).itemsize
    # 128 tokens more per request: the cache is handed out in blocks.
    wanted = (limit + 128) * config.in_flight * token_bytes
    free = min(psutil.virtual_memory().available, get_memory_node_info().available_memory)
    return {
        "kv_cache_memory_bytes": int(min(wanted, free * (config.memory_share or 0.25))),
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(limit, 8192),
    }
