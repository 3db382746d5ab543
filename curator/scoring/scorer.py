"""A base model that scores records: log-prob, entropy and rank of every token, in one pass over the vocabulary."""

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from forgetless.curator.head import Head
from forgetless.curator.models import load_model
from forgetless.curator.scoring.body import Body
from forgetless.curator.scoring.figures import token_figures
from forgetless.curator.scoring.stats import Record, Scored, TokenStats

BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768}
"""Tokens in one forward pass: enough for full speed of the matrix products, and no more memory than that."""
AHEAD = 16
"""Batches' worth of records that are sorted by length, so that those of a batch are of like length."""


class Scorer:
    """The base model in `folder`, with weights in float32 or bfloat16, on `device` (a GPU if there is one).

    A record must have two tokens or more, ids in the model's vocabulary, and fit into its context.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        top_k: int = 0,
        trust_remote_code: bool = False,
        device: str | None = None,
    ) -> None:
        self._model = load_model(folder, dtype, trust_remote_code, device)
        self._body, self._head = Body(self._model), Head(self._model)
        self._top_k = top_k

    @property
    def packed(self) -> bool:
        """Whether records are laid end to end instead of padded: see `Body`."""
        return self._body.packed

    def close(self) -> None:
        """Give the memory back, the GPU's too: an engine may want it."""
        del self._model, self._body, self._head
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def score(self, records: Iterable[Record], batch_tokens: int | None = None) -> Iterator[Scored]:
        """(id, statistics) of every record, in batches of about `batch_tokens` tokens; in any order.

        What else is in a batch changes no figure by more than rounding.
        """
        for batch in self._batches(records, batch_tokens or BATCH_TOKENS[self._model.device.type]):
            yield from zip((name for name, _ in batch), self._score([ids for _, ids in batch]), strict=True)

    @torch.inference_mode()
    def _score(self, batch: list[list[int]]) -> list[TokenStats]:
        try:
            return self._figures(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._score(batch[:half]) + self._score(batch[half:])

    def _figures(self, batch: list[list[int]]) -> list[TokenStats]:
        records = [torch.tensor(ids) for ids in batch]
        hidden_PD = self._body([ids_T[:-1] for ids_T in records])  # nothing is predicted from the last
        next_P = torch.cat([ids_T[1:] for ids_T in records]).to(hidden_PD.device)
        figures = token_figures(self._head, hidden_PD, next_P, self._top_k)
        ends = np.cumsum([len(ids) - 1 for ids in batch])[:-1]
        rows = zip(*(np.split(column.cpu().numpy(), ends) for column in figures), strict=True)
        return [TokenStats(*row, *[None] * (6 - len(row))) for row in rows]

    def _batches(self, records: Iterable[Record], batch_tokens: int) -> Iterator[list[Record]]:
        ahead: list[Record] = []
        tokens = 0
        for record in records:
            ahead.append(record)
            tokens += len(record[1])
            if tokens >= AHEAD * batch_tokens:
                yield from self._cut(ahead, batch_tokens)
                ahead, tokens = [], 0
        yield from self._cut(ahead, batch_tokens)

    def _cut(self, records: list[Record], batch_tokens: int) -> Iterator[list[Record]]:
        batch: list[Record] = []
        tokens = 0
        for record in sorted(records, key=lambda record: len(record[1])):
            length = len(record[1])
            if batch and self._body.cost(len(batch) + 1, tokens + length, length) > batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(record)
            tokens += length
        if batch:
            yield batch
