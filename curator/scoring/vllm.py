"""Scores by vLLM, for models that need several GPUs for one copy."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from forgetless.curator.engines import ChildEngine
from forgetless.curator.engines.arrays import unpacked
from forgetless.curator.progress import note
from forgetless.curator.scoring.stats import Record, Scored, TokenStats
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result, Sampling


class VllmScorer:
    """The base model in `folder`, run by vLLM as `config` says, in a process of its own that can be killed.

    It gives no entropy. vLLM counts ties against a token; its rank is mended where it is among the top k (of
    which one at least is asked for), and stands too high by the ties it has elsewhere.
    """

    def __init__(
        self, folder: Path, config: EngineConfig, top_k: int, log: Path, trust_remote_code: bool = False
    ) -> None:
        self._folder, self._config, self._log, self._trust = folder, config, log, trust_remote_code
        self._top_k = top_k
        self._engine: ChildEngine | None = None

    def close(self) -> None:
        """End the process."""
        if self._engine:
            self._engine.close()

    def score(self, records: Iterable[Record], batch_tokens: int | None = None) -> Iterator[Scored]:
        """(id, statistics) of every record, in any order; `batch_tokens` of the first call hold for all.

        Why the engine could not run a record is said.

        Raises:
            EngineError: vLLM cannot be started, or fails without finishing anything.
        """
        scores = {"top_k": max(self._top_k, 1), "batch_tokens": batch_tokens}
        self._engine = self._engine or ChildEngine(self._folder, self._config, self._log, self._trust, scores)
        once = Sampling(max_tokens=1)
        requests = (Request(id=name, prompt_ids=ids, sampling=once, seed=0) for name, ids in records)
        for result in self._engine.generate(requests):
            if result.error:
                note(f"record {result.id} is not scored: {result.error}")
            yield result.id, None if result.error else self._stats(result)

    def _stats(self, result: Result) -> TokenStats:
        tokens = len(result.prompt_ids) - 1
        logprobs = unpacked(result.prompt_scores["logprobs"], np.float32, tokens)
        ids = unpacked(result.prompt_scores["token_ids"], np.int32, tokens)
        ranks = unpacked(result.prompt_scores["ranks"], np.int32, tokens)[:, 0]
        own, top = logprobs[:, 0], logprobs[:, 1:]
        # Whatever is more probable than a token among the top k is among them too.
        ranks = np.where(own >= top[:, -1], (top > own[:, None]).sum(1) + 1, ranks).astype(np.int32)
        if not self._top_k:
            return TokenStats(own, None, ranks, None, None, None)
        tail = (1 - np.exp(top.astype(np.float64)).sum(1)).clip(min=0).astype(np.float32)
        return TokenStats(own, None, ranks, ids[:, 1:], top, tail)
