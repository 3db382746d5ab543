"""transformers as a backend: batched sampling with own seeds, for where vLLM is not."""

from pathlib import Path
from typing import Any

import torch

from forgetless.curator.engines.results import chosen, failed
from forgetless.curator.models import load_model, load_tokenizer
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result

_STOP_TEXT_TOKENS = 32
"""Tokens looked at, from the end, for a stop text."""


class _Row:
    """A request on its way, with what it has sampled."""

    def __init__(self, request: Request, device: torch.device, choices: list[list[int]]) -> None:
        self.request = request
        self.choices = choices
        self.generator = torch.Generator(device).manual_seed(request.seed)
        self.ids: list[int] = []
        self.logprobs: list[float] = []

    def next_ids(self) -> list[int]:
        """What may follow, where the request has choices."""
        taken = len(self.ids)
        return sorted({ids[taken] for ids in self.choices if ids[:taken] == self.ids and len(ids) > taken})


class TransformersBackend:
    """A transformers model in this process. A batch is filled, then shrinks as its rows end."""

    def __init__(self, model: str, config: EngineConfig, trust_remote_code: bool) -> None:
        self._model = load_model(Path(model), config.dtype, trust_remote_code)
        self._tokenizer = load_tokenizer(Path(model), trust_remote_code=trust_remote_code)
        self._limit = config.max_model_len or self._model.config.max_position_embeddings
        self._batch = min(config.in_flight, 64)
        self._waiting: list[Request] = []
        self._rows: list[_Row] = []
        self._cache: Any = None
        self._mask_BT = torch.zeros(0, 0, dtype=torch.long)

    def add(self, request: Request) -> Result | None:
        room = self._limit - len(request.prompt_ids)
        if room < 1 or not request.prompt_ids:
            reason = f"a prompt of {len(request.prompt_ids)} tokens; the model takes 1 to {self._limit - 1}"
            return failed(request, reason)
        self._waiting.append(request)
        return None

    def pending(self) -> bool:
        return bool(self._rows or self._waiting)

    @torch.inference_mode()
    def step(self) -> list[Result]:
        logits_BV = self._decode() if self._rows else self._prefill()
        self._sample(logits_BV)
        reasons = [self._finish_reason(row) for row in self._rows]
        ended = [self._result(row, reason) for row, reason in zip(self._rows, reasons, strict=True) if reason]
        keep = [i for i, reason in enumerate(reasons) if not reason]
        if ended and keep:
            index = torch.tensor(keep, device=self._model.device)
            self._cache.batch_select_indices(index)
            self._mask_BT = self._mask_BT[index]
        self._rows = [self._rows[i] for i in keep]
        return ended

    def _result(self, row: _Row, reason: str) -> Result:
        result = Result(
            id=row.request.id, prompt_ids=row.request.prompt_ids, token_ids=row.ids, logprobs=row.logprobs,
            finish_reason=reason,
        )  # fmt: skip
        if not row.choices:
            return result
        if row.ids in row.choices:
            return chosen(row.request, result, row.request.choices[row.choices.index(row.ids)])
        return chosen(row.request, result, self._tokenizer.decode(row.ids))

    def _choices(self, request: Request) -> list[list[int]]:
        """The ids of each choice and of what ends it."""
        end = [i for i in (*request.stop_ids, self._tokenizer.eos_token_id) if i is not None][:1]
        encode = self._tokenizer.encode
        return [encode(choice, add_special_tokens=False) + end for choice in request.choices]

    def _prefill(self) -> torch.Tensor:
        """Last-position logits of a new batch, left-padded so that all rows end together."""
        taken, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        self._rows = [_Row(request, self._model.device, self._choices(request)) for request in taken]
        longest = max(len(request.prompt_ids) for request in taken)
        ids_BT = torch.zeros(len(taken), longest, dtype=torch.long)
        self._mask_BT = torch.zeros_like(ids_BT)
        for i, request in enumerate(taken):
            ids_BT[i, longest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            self._mask_BT[i, longest - len(request.prompt_ids) :] = 1
        self._mask_BT = self._mask_BT.to(self._model.device)
        self._cache = None
        return self._forward(ids_BT.to(self._model.device), (self._mask_BT.cumsum(1) - 1).clamp(min=0))

    def _decode(self) -> torch.Tensor:
        ids_B1 = torch.tensor([[row.ids[-1]] for row in self._rows], device=self._model.device)
        self._mask_BT = torch.cat([self._mask_BT, torch.ones_like(ids_B1)], 1)
        return self._forward(ids_B1, self._mask_BT.sum(1, keepdim=True) - 1)

    def _forward(self, ids_BT: torch.Tensor, position_ids_BT: torch.Tensor) -> torch.Tensor:
        output = self._model(
            ids_BT, attention_mask=self._mask_BT, position_ids=position_ids_BT, past_key_values=self._cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self._cache = output.past_key_values
        return output.logits[:, -1].float()

    def _sample(self, logits_BV: torch.Tensor) -> None:
        logprobs_BV = logits_BV.log_softmax(-1)
        for row, logprobs_V in zip(self._rows, logprobs_BV, strict=True):
            token = _draw(logprobs_V, row)
            row.ids.append(token)
            row.logprobs.append(float(logprobs_V[token]))

    def _finish_reason(self, row: _Row) -> str | None:
        request = row.request
        if row.ids[-1] in request.stop_ids or row.ids in row.choices:
            return "stop"
        if request.stop_texts and not row.choices:
            tail = self._tokenizer.decode(row.ids[-_STOP_TEXT_TOKENS:])
            if any(stop in tail for stop in request.stop_texts):
                return "stop"
        longest = min(request.sampling.max_tokens, self._limit - len(request.prompt_ids))
        return "length" if len(row.ids) >= longest else None


def _draw(logprobs_V: torch.Tensor, row: _Row) -> int:
    """One token under the row's choices, temperature, top-k and top-p, from the row's own generator."""
    sampling = row.request.sampling
    if row.choices:
        outside_V = torch.ones_like(logprobs_V, dtype=torch.bool)
        outside_V[row.next_ids()] = False
        logprobs_V = logprobs_V.masked_fill(outside_V, float("-inf"))
    if sampling.temperature == 0:
        return int(logprobs_V.argmax())
    scaled_V = logprobs_V / sampling.temperature
    if sampling.top_k:
        kept = scaled_V.topk(min(sampling.top_k, len(scaled_V))).values[-1]
        scaled_V = scaled_V.masked_fill(scaled_V < kept, float("-inf"))
    probs_V = scaled_V.softmax(-1)
    if sampling.top_p < 1:
        ordered_V, order_V = probs_V.sort(descending=True)
        outside_V = ordered_V.cumsum(-1) - ordered_V >= sampling.top_p
        probs_V = probs_V.scatter(0, order_V, ordered_V.masked_fill(outside_V, 0))
    return int(torch.multinomial(probs_V, 1, generator=row.generator))
