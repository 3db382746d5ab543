"""A base model that scores records: log-prob, entropy and rank of every token, in one pass over the vocabulary."""

import ctypes
import gc
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

# Every number of tokens is a shape of its own to oneDNN, which would keep the code it makes for a thousand of them,
# half a megabyte each. It is read once.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

import numpy as np
import torch

from forgetless.curator.head import Head
from forgetless.curator.models import load_model
from forgetless.curator.scoring.body import Body
from forgetless.curator.scoring.figures import token_figures
from forgetless.curator.scoring.norms import fuse_norms
from forgetless.curator.scoring.prepacked import prepack
from forgetless.curator.scoring.stats import Record, Scored, TokenStats

BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768}
"""Tokens in one forward pass: enough for full speed of the matrix products, and no more memory than that."""
AHEAD = 16
"""Batches' worth of records that are sorted by length, so that those of a batch are of like length."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENAS = -1, -3, -8  # malloc.h


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
        _keep_freed_memory()
        self._model = load_model(folder, dtype, trust_remote_code, device)
        if self._model.device.type == "cpu" and dtype == "bfloat16":
            prepack(self._model)
            fuse_norms(self._model)
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
        device = self._model.device.type
        batches = self._batches(records, batch_tokens or BATCH_TOKENS[device])
        if device == "cpu" and torch.get_num_threads() > 1:
            yield from chain.from_iterable(_side_by_side(self._score, batches))
        else:
            yield from chain.from_iterable(map(self._score, batches))

    @torch.inference_mode()
    def _score(self, batch: list[Record]) -> list[Scored]:
        try:
            return self._figures(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._score(batch[:half]) + self._score(batch[half:])

    def _figures(self, batch: list[Record]) -> list[Scored]:
        records = [torch.tensor(ids) for _, ids in batch]
        hidden_PD = self._body([ids_T[:-1] for ids_T in records])  # nothing is predicted from the last
        next_P = torch.cat([ids_T[1:] for ids_T in records]).to(hidden_PD.device)
        figures = token_figures(self._head, hidden_PD, next_P, self._top_k)
        ends = np.cumsum([len(ids) - 1 for _, ids in batch])[:-1]
        rows = zip(*(np.split(column.cpu().numpy(), ends) for column in figures), strict=True)
        stats = (TokenStats(*row, *[None] * (6 - len(row))) for row in rows)
        return list(zip((name for name, _ in batch), stats, strict=True))

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


def _keep_freed_memory() -> None:
    """glibc gives freed memory back to the system, which clears each page before it is used again: without this
    a twentieth of the time goes into that. Other C libraries have no such setting, or need none."""
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 256 << 20)
        mallopt(_ARENAS, 1)  # what one thread has freed serves the others too


def _side_by_side(
    score: Callable[[list[Record]], list[Scored]], batches: Iterable[list[Record]]
) -> Iterator[list[Scored]]:
    """A batch on each core of a CPU, instead of all cores on one batch.

    All but the largest of a batch's steps are too short to be worth the waking of the other cores: on two
    cores this is twice as fast.
    """
    threads = torch.get_num_threads()
    flying: deque[Future[list[Scored]]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for batch in batches:
            flying.append(pool.submit(score, batch))
            if len(flying) > threads:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a part of the setting holds for the whole process
