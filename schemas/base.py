"""The base of all records and settings, and content digests."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable; unknown keys are errors; the docstring under a field is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


def digest(*parts: Any) -> str:
    """128-bit hex BLAKE2b of the parts as canonical JSON. Equal parts, equal digest, on any machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def seed_of(row_id: str) -> int:
    """A request's own seed: the first 63 bits of its id, so that no two requests share one."""
    return int(row_id[:16], 16) >> 1
