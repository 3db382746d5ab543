"""Causal attention over records laid end to end, each seeing only itself: no padding, no mask of all by all.

Shapes: H heads, G queries' heads for each head of keys, T tokens of all records, D head size.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

try:
    from forgetless.curator.scoring.fused import fused_softmax
except ImportError:
    fused_softmax = None

NAME = "forgetless_packed"
"""What transformers knows this attention as. It has no mask function there, so that no mask is made."""
BLOCK = 128
"""Queries whose scores exist at once in half precision on a CPU."""
TILE = 64
"""Records are filled up to a multiple of it: oneDNN makes code for each shape of a product, and keeps it."""

_lengths: ContextVar[Sequence[int]] = ContextVar("lengths of the records that are laid end to end")


@contextmanager
def records_of(lengths: Sequence[int]) -> Iterator[None]:
    """Says where one record ends and the next begins to all attention inside."""
    token = _lengths.set(lengths)
    try:
        yield
    finally:
        _lengths.reset(token)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H·G, T, D], key and value [1, H, T, D] → [1, T, H·G, D].

    Raises:
        NotImplementedError: the model wants an attention that is more than this.
    """
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if unknown or attention_mask is not None or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"attention with {unknown or 'a mask'}")
    scale = scaling or query.shape[-1] ** -0.5
    if query.is_cuda and query.dtype != torch.float32:
        return _variable_length(query, key, value, scale, sliding_window), None
    one = _in_blocks if query.dtype == torch.bfloat16 and not query.is_cuda else _whole
    seen_1THD = value.new_empty(
        1, query.shape[2], query.shape[1], value.shape[3]
    )  # some have values of another size
    begin = 0
    for length in _lengths.get():
        record = slice(begin, begin + length)
        seen_HTD = seen_1THD[0, record].transpose(0, 1)
        one(seen_HTD, query[0, :, record], key[0, :, record], value[0, :, record], scale, sliding_window)
        begin += length
    return seen_1THD, None


def _whole(out: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> None:
    """One record through torch's own kernel: `out` and query [H·G, T, D], key and value [H, T, D]."""
    length = query.shape[1]
    mask = None
    if window and window < length:
        place_T = torch.arange(length, device=query.device)
        behind_TT = place_T[:, None] - place_T
        mask = (behind_TT >= 0) & (behind_TT < window)
    grouped = query.shape[0] != key.shape[0]
    out[:] = F.scaled_dot_product_attention(
        query[None], key[None], value[None], mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )[0]


def _in_blocks(
    out: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
) -> None:
    """One record in half precision on a CPU, a block of queries at a time against all keys that one of them sees.

    Two to three times as fast as torch's kernel, which multiplies in small pieces; softmax is fp32 inside.
    """
    heads, length, size = key.shape
    rest = -length % TILE
    query, key, value = (F.pad(x, (0, 0, 0, rest)) for x in (query, key, value))
    query_HGTD, out_HGTD = query.unflatten(0, (heads, -1)), out.unflatten(0, (heads, -1))
    key_HDT = key.transpose(1, 2)
    for begin in range(0, length, BLOCK):
        end = min(begin + BLOCK, length + rest)
        first = max(0, begin - window + 1) // TILE * TILE if window else 0
        block_HND = query_HGTD[:, :, begin:end].reshape(heads, -1, size)
        scores_HNK = block_HND @ key_HDT[..., first:end]
        seen_HNK = _softmax(scores_HNK, end - begin, begin - first + 1, window or length, scale)
        block_HGBD = (seen_HNK @ value[:, first:end]).unflatten(1, (-1, end - begin))
        out_HGTD[:, :, begin:end] = block_HGBD[:, :, : length - begin]


def _softmax(scores_HNK: Tensor, queries: int, seen: int, window: int, scale: float) -> Tensor:
    """Of scores times `scale`, which are overwritten. N is `queries`, for each of a group's heads; the first sees the
    first `seen` keys, each later one a key more, and all no more than the last `window` of theirs."""
    if fused_softmax is not None:
        bits_NK = scores_HNK.view(torch.uint16).flatten(0, 1).numpy()
        fused_softmax(bits_NK, queries, seen, window, np.float32(scale))
        return scores_HNK
    behind_BK = torch.arange(seen - 1, seen - 1 + queries)[:, None] - torch.arange(scores_HNK.shape[2])
    unseen_BK = (behind_BK < 0) | (behind_BK >= window)
    scores_HGBK = (
        scores_HNK.unflatten(1, (-1, queries)).float().mul_(scale).masked_fill_(unseen_BK, -math.inf)
    )
    return scores_HGBK.softmax(-1).to(scores_HNK.dtype).flatten(1, 2)


def _variable_length(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """All records at once through the GPU's kernel for variable lengths; half precision only."""
    from torch.nn.attention.varlen import varlen_attn

    lengths = torch.tensor(_lengths.get(), dtype=torch.int32, device=query.device)
    ends = F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(lengths.max())
    rows_THD = [x[0].transpose(0, 1).contiguous() for x in (query, key, value)]
    seen_THD = varlen_attn(
        *rows_THD, ends, ends, longest, longest, scale=scale, window_size=((window or 0) - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return seen_THD[None]
