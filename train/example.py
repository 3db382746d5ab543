"""What a record is to training: token ids, labels and a weight per token."""

from dataclasses import dataclass, replace

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
        parts = (part[:max_length] for part in (self.token_ids, self.labels, self.weights))
        return Example(self.id, self.kind, *parts)

    def without(self, dropped: np.ndarray) -> "Example":
        """The same with weight 0 where `dropped`, bool [T], is set; labels stay."""
        return replace(self, weights=np.where(dropped, np.float32(0), self.weights))
