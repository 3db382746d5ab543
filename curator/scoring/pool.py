"""Several scorers at once, each on a device of its own, each in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from forgetless.curator.lifetime import die_with_parent
from forgetless.curator.scoring.scorer import AHEAD, BATCH_TOKENS, Scorer
from forgetless.curator.scoring.stats import Record, Scored
from forgetless.schemas.errors import EngineError

_scorer: Scorer
"""A process's own."""


class ScorerPool:
    """`Scorer` on each of `devices` (such as cuda:0; a CPU may be there several times), fed as each is done."""

    def __init__(
        self, folder: Path, dtype: str, top_k: int, trust_remote_code: bool, devices: list[str]
    ) -> None:
        self._device = devices[0].partition(":")[0]
        self._processes = [
            ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),  # a CUDA context does not survive a fork
                _start,
                (os.getpid(), len(devices), folder, dtype, top_k, trust_remote_code, device),
            )
            for device in devices
        ]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.shutdown(cancel_futures=True)

    def score(self, records: Iterable[Record], batch_tokens: int | None = None) -> Iterator[Scored]:
        """See `Scorer.score`.

        Raises:
            EngineError: a process ended.
        """
        batch_tokens = batch_tokens or BATCH_TOKENS[self._device]
        groups = _groups(records, AHEAD * batch_tokens)
        idle = list(self._processes)
        busy: dict[Future[list[Scored]], ProcessPoolExecutor] = {}
        while True:
            while idle and (group := next(groups, None)):
                process = idle.pop()
                busy[process.submit(_score, group, batch_tokens)] = process
            if not busy:
                return
            for done in wait(busy, return_when=FIRST_COMPLETED).done:
                idle.append(busy.pop(done))
                try:
                    yield from done.result()
                except BrokenProcessPool:
                    raise EngineError(
                        "a scoring process ended; what it said is above",
                        "everything committed is kept: run the same command again, with fewer `devices` or a "
                        "smaller `batch_tokens` if memory was short",
                    ) from None


def _groups(records: Iterable[Record], tokens: int) -> Iterator[list[Record]]:
    group: list[Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += len(record[1])
        if size >= tokens:
            yield group
            group, size = [], 0
    if group:
        yield group


def _start(
    parent: int, processes: int, folder: Path, dtype: str, top_k: int, trust_remote_code: bool, device: str
) -> None:
    """Load a process's scorer."""
    import torch

    global _scorer
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if device == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    _scorer = Scorer(folder, dtype, top_k, trust_remote_code, device)


def _score(records: list[Record], batch_tokens: int) -> list[Scored]:
    return list(_scorer.score(records, batch_tokens))
