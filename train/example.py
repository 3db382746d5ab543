"""What a record is to training: token ids, labels and a weight per token."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

IGNORED = -100
"""The label of a token that is not trained on."""


@dataclass(frozen=True, eq=False)
class Example:
    """One record as arrays of its length. Labels are not shifted: they are the token ids, or IGNORED."""

    id: str
    kind: str
    token_ids: np.ndarray
    """int64 [T]"""
    labels: np.ndarray
    """int64 [T]; never set at position 0, which nothing predicts"""
    weights: np.ndarray
    """float32 [T]; each token's share in the loss, 0 where the label is IGNORED"""
    source: int = 0
    """0: a target. i: of the i-th replay source."""
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What objectives read of a scorer: float32 [T, …] or int64 [T, …], NaN or -1 where it has none"""

    @classmethod
    def of(
        cls,
        id: str,
        kind: str,
        token_ids: list[int],
        spans: list[tuple[int, int]],
    ) -> "Example":
        """A record whose target tokens lie in `spans`."""
        ids = np.asarray(token_ids, dtype=np.int64)
        labels = np.full(len(ids), IGNORED, dtype=np.int64)
        for start, end in spans:
            labels[max(start, 1) : end] = ids[max(start, 1) : end]
        return cls(id, kind, ids, labels, (labels != IGNORED).astype(np.float32))

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def is_target(self) -> np.ndarray:
        """bool [T]: tokens that may be trained on, whatever their weight."""
        return self.labels != IGNORED

    @property
    def target_tokens(self) -> int:
        """How many tokens may be trained on."""
        return int(self.is_target.sum())

    def cut(self, max_length: int) -> "Example":
        """Its first `max_length` tokens."""
        return replace(
            self,
            token_ids=self.token_ids[:max_length],
            labels=self.labels[:max_length],
            weights=self.weights[:max_length],
            stats={name: values[:max_length] for name, values in self.stats.items()},
        )

    def weighted(self, factor: np.ndarray | float) -> "Example":
        """The same with weights times `factor`, [T] or one for all; labels stay."""
        return replace(self, weights=np.asarray(self.weights * factor, dtype=np.float32))
