"""What is sent to a server that speaks OpenAI's protocol, and what is made of its answer."""

import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from forgetless.curator.engines.results import chosen, failed
from forgetless.schemas.model import Endpoint
from forgetless.schemas.request import Request, Result

_JSON_TOKENS = 64
"""Room for the object around a choice, and for white space where a server leaves it free."""


class Usage(BaseModel):
    """What was counted, and is paid for."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Token(BaseModel):
    logprob: float | None = None


class _Logprobs(BaseModel):
    token_logprobs: list[float | None] | None = None
    """of /completions"""
    content: list[_Token] | None = None
    """of /chat/completions"""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    text: str | None = None
    message: _Message = _Message()
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Answer(BaseModel):
    """The parts of a server's answer that are read, of both routes; hosted servers leave many out."""

    choices: list[_Choice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None


class _Card(BaseModel):
    id: str
    max_model_len: int | None = None


class Served(BaseModel):
    """The models a server has; vLLM says how long their texts may be."""

    data: list[_Card]


def unsendable(config: Endpoint, request: Request) -> str | None:
    """Why the server cannot be asked this, if it cannot."""
    if config.server == "vllm":
        return None
    if not request.messages:
        return "OpenAI's protocol takes no token ids: ask with messages, or set `server: vllm` if it is one"
    if request.sampling.top_k:
        return "OpenAI's protocol has no top_k: set `top_k: 0`, or `server: vllm` if it is one"
    return None


def asked(config: Endpoint, request: Request, limit: int | None) -> tuple[str, dict[str, Any]]:
    """Route and body for a request; `limit` is the server's longest prompt plus continuation, if known."""
    if request.messages:
        route = "/chat/completions"
        prefix: dict[str, Any] = {"messages": [message.model_dump() for message in request.messages]}
    else:
        route, prefix = "/completions", {"prompt": request.prompt_ids}
    sampling = {"temperature": request.sampling.temperature, "top_p": request.sampling.top_p}
    stop = {"stop": request.stop_texts} if request.stop_texts and not request.choices else {}
    own = _vllm(request, limit) if config.server == "vllm" else _documented(config, request)
    return route, {"model": config.model, **prefix, **sampling, **stop, **own}


def result_of(request: Request, answer: Answer) -> Result:
    """The result of a request that the server answered.

    vLLM's token ids hold the stop token, as the local engine's do, and so do its log-probs.
    """
    if not answer.choices:
        return failed(request, "the server sent no answer")
    choice = answer.choices[0]
    text = choice.message.content if request.messages else choice.text
    if problem := _problem(choice, text):
        return failed(request, problem)
    result = Result(
        id=request.id, prompt_ids=answer.prompt_token_ids or choice.prompt_token_ids or request.prompt_ids,
        token_ids=choice.token_ids or [], text=text if request.messages else None,
        logprobs=_logprobs(choice), finish_reason=choice.finish_reason or "stop",
    )  # fmt: skip
    return chosen(request, result, _unpacked(text or "")) if request.choices else result


def _vllm(request: Request, limit: int | None) -> dict[str, Any]:
    """What `curator.engines.vllm.sampling_params` says, in the server's names.

    Everything a server could take from the model's generation_config.json is said, not left out.
    """
    longest = request.sampling.max_tokens
    if limit:  # the local engine cuts there, servers refuse
        longest = max(1, min(longest, limit - len(request.prompt_ids)))
    body = {
        "max_tokens": longest, "seed": request.seed, "top_k": request.sampling.top_k, "min_p": 0.0,
        "repetition_penalty": 1.0, "stop_token_ids": request.stop_ids, "return_token_ids": True,
    }  # fmt: skip
    if request.choices:
        return body | {"structured_outputs": {"choice": request.choices}}
    if request.messages:
        return body | {"logprobs": True, "top_logprobs": 0}
    exact = {"ignore_eos": True, "include_stop_str_in_output": True, "skip_special_tokens": False}
    return body | exact | {"logprobs": 0}


def _documented(config: Endpoint, request: Request) -> dict[str, Any]:
    """Parameters that OpenAI documents and most hosted servers know.

    OpenAI's newer models refuse `max_tokens`; most other servers know no other name, and some ignore a
    name they do not know. Seeds have 31 bits: not every server reads more.
    """
    host = urlsplit(config.base_url).hostname or ""
    name = "max_completion_tokens" if host.endswith((".openai.com", ".openai.azure.com")) else "max_tokens"
    body = {name: request.sampling.max_tokens, "seed": request.seed & 0x7FFFFFFF}
    if not request.choices:
        return body
    schema = {
        "type": "object", "properties": {"answer": {"type": "string", "enum": request.choices}},
        "required": ["answer"], "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}
    return body | {name: request.sampling.max_tokens + _JSON_TOKENS, "response_format": form}


def _problem(choice: _Choice, text: str | None) -> str | None:
    if choice.message.refusal:
        return f"the model refused: {choice.message.refusal}"
    if choice.finish_reason not in ("stop", "length"):
        return f"the server ended the answer by {choice.finish_reason!r}"
    return "the server sent no text" if text is None and not choice.token_ids else None


def _unpacked(text: str) -> str:
    """The choice in the object that was asked for; the text itself where a server sent no such object."""
    try:
        return str(json.loads(text)["answer"])
    except (ValueError, TypeError, KeyError):
        return text.strip()


def _logprobs(choice: _Choice) -> list[float]:
    """One for every token id, or none."""
    given = choice.logprobs or _Logprobs()
    values = given.token_logprobs or [token.logprob for token in given.content or []]
    known = [value for value in values if value is not None]
    return known if len(known) == len(choice.token_ids or []) else []
