"""Log-prob, entropy and rank of every token of a record, in one pass over the vocabulary.

Shapes: B records, T positions, P predicted positions of a batch laid end to end, V vocabulary, K top-k.
"""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forgetless.curator.head import Head
from forgetless.curator.models import load_model

HEAD_TOKENS = 1024
"""Positions whose logits exist at once: `[tokens, vocabulary]` for a batch would fill the memory."""


@dataclass(frozen=True)
class TokenStats:
    """Statistics of one record of T tokens. All log-probs are natural, at temperature 1, from fp32.

    Entry 0 belongs to the second token: the first has no prefix and so no statistics.
    """

    logprob: np.ndarray
    """[T-1] float32, of the token that is there; NaN where an imported list has none."""
    entropy: np.ndarray | None
    """[T-1] float32, nats, of the distribution the token was drawn from; None where the scorer gives none."""
    rank: np.ndarray | None
    """[T-1] int32, 1 is the most probable token; ties share the better rank. None where there is none."""
    topk_ids: np.ndarray | None
    """[T-1, K] int32, most probable first."""
    topk_logprobs: np.ndarray | None
    """[T-1, K] float32."""
    tail_mass: np.ndarray | None
    """[T-1] float32, probability of all tokens outside the top k."""
    windows: int = 1
    """Overlapping windows that the record was scored in; with one every token saw all before it."""


class Scorer:
    """The base model in `folder`, in float32 or bfloat16, scoring records by their token ids.

    Ids must lie in the model's vocabulary, and a record in its context.
    """

    def __init__(self, folder: Path, dtype: str, top_k: int = 0, trust_remote_code: bool = False) -> None:
        self._model = load_model(folder, dtype, trust_remote_code)
        self._logits = Head(self._model)
        self.top_k = top_k
        self._vocabulary = int(self._model.get_output_embeddings().weight.shape[0])

    def close(self) -> None:
        """Give the memory back, the GPU's too: an engine may want it."""
        del self._model, self._logits
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def score(
        self, records: Iterable[tuple[str, list[int]]], batch_tokens: int
    ) -> Iterator[tuple[str, TokenStats]]:
        """(id, statistics) of (id, token ids), in batches of like lengths of about `batch_tokens` tokens."""
        for batch in _batches(records, batch_tokens):
            yield from zip(
                [record[0] for record in batch], self._score([ids for _, ids in batch]), strict=True
            )

    @torch.inference_mode()
    def _score(self, batch: list[list[int]]) -> list[TokenStats]:
        lengths = [len(ids) for ids in batch]
        ids_BT = torch.zeros(len(batch), max(lengths), dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for i, ids in enumerate(batch):  # padded behind: causal attention never looks there
            ids_BT[i, : len(ids)] = torch.tensor(ids)
            mask_BT[i, : len(ids)] = 1
        ids_BT, mask_BT = ids_BT.to(self._model.device), mask_BT.to(self._model.device)
        hidden_BTD = self._model.base_model(ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
        predicts_BT = mask_BT[:, 1:].bool()
        hidden_PD, next_P = hidden_BTD[:, :-1][predicts_BT], ids_BT[:, 1:][predicts_BT]
        chunks = [
            self._head(hidden_PD[i : i + HEAD_TOKENS], next_P[i : i + HEAD_TOKENS])
            for i in range(0, len(next_P), HEAD_TOKENS)
        ]
        columns = [torch.cat(parts).cpu().numpy() for parts in zip(*chunks, strict=True)]
        ends = np.cumsum([length - 1 for length in lengths])[:-1]
        rows = zip(*(np.split(column, ends) for column in columns), strict=True)
        return [TokenStats(*row, *[None] * (6 - len(row))) for row in rows]

    def _head(self, hidden_PD: torch.Tensor, next_P: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits_PV = self._logits(hidden_PD)
        chosen_P1 = logits_PV.gather(1, next_P[:, None])
        rank_P = (logits_PV > chosen_P1).sum(1, dtype=torch.int32) + 1
        total_P1 = logits_PV.logsumexp(1, keepdim=True)
        top: tuple[torch.Tensor, ...] = ()
        if self.top_k:
            values_PK, ids_PK = logits_PV.topk(min(self.top_k, self._vocabulary), 1)
            values_PK = values_PK - total_P1
            top = (ids_PK.int(), values_PK, (1 - values_PK.exp().sum(1)).clamp(min=0))
        logprobs_PV = logits_PV.sub_(total_P1)
        entropy_P = -(logprobs_PV.exp() * logprobs_PV.clamp(min=-1e4)).sum(1)
        return (chosen_P1 - total_P1).squeeze(1), entropy_P, rank_P, *top


def _batches(
    records: Iterable[tuple[str, list[int]]], batch_tokens: int
) -> Iterator[list[tuple[str, list[int]]]]:
    """Batches of at most `batch_tokens` padded tokens; sorted by length within a window, so little is padding."""
    window: list[tuple[str, Any]] = []
    for record in records:
        window.append(record)
        if sum(len(ids) for _, ids in window) >= 16 * batch_tokens:
            yield from _cut(window, batch_tokens)
            window = []
    yield from _cut(window, batch_tokens)


def _cut(window: list[tuple[str, list[int]]], batch_tokens: int) -> Iterator[list[tuple[str, list[int]]]]:
    batch: list[tuple[str, list[int]]] = []
    for record in sorted(window, key=lambda record: len(record[1])):
        if batch and (len(batch) + 1) * len(record[1]) > batch_tokens:
            yield batch
            batch = []
        batch.append(record)
    if batch:
        yield batch
