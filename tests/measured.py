"""What tests of measuring share: files of rows, and a model's log-probs worked out by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from forgetless.train.example import Example


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_hand(lm: Any, example: Example) -> torch.Tensor:
    """Log-probs [T - 1, V] of what follows each token, in float64, from the whole model's own logits."""
    ids = torch.from_numpy(example.token_ids)[None]
    with torch.no_grad():
        logprobs: torch.Tensor = lm.double()(ids, use_cache=False).logits[0, :-1].log_softmax(1)
    return logprobs
