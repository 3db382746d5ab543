"""Causal attention over records laid end to end, each seeing only itself: no padding, no mask of all by all.

Shapes: H heads, G queries' heads for each head of keys, T tokens of all records, D head size.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "forgetless_packed"
"""What transformers knows this attention as. It has no mask function there, so that no mask is made."""
BLOCK = 128
"""Queries whose scores exist at once in half precision on a CPU."""

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
    queries, keys, values = (x.split(list(_lengths.get()), dim=2) for x in (query, key, value))
    records = zip(queries, keys, values, strict=True)
    seen = [one(q, k, v, scale, sliding_window) for q, k, v in records]
    return torch.cat(seen, dim=2).transpose(1, 2).contiguous(), None


def _whole(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """One record through torch's own kernel."""
    length = query.shape[2]
    mask = None
    if window and window < length:
        place_T = torch.arange(length, device=query.device)
        behind_TT = place_T[:, None] - place_T
        mask = (behind_TT >= 0) & (behind_TT < window)
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _in_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """One record in half precision on a CPU, a block of queries at a time against all keys that one of them sees.

    Two to three times as fast as torch's kernel, which multiplies in small pieces; softmax is fp32 inside.
    """
    heads, length, size = key.shape[1:]
    query_HGTD = (query[0] * scale).unflatten(0, (heads, -1))
    key_HTD, value_HTD = key[0].contiguous(), value[0].contiguous()
    seen_HGTD = torch.empty_like(query_HGTD, memory_format=torch.contiguous_format)
    for begin in range(0, length, BLOCK):
        end = min(begin + BLOCK, length)
        first = max(0, begin - window + 1) if window else 0
        block_HGBD = query_HGTD[:, :, begin:end]
        keys_HDK = key_HTD[:, first:end].transpose(1, 2)
        scores_HNK = block_HGBD.reshape(heads, -1, size) @ keys_HDK
        scores_HGBK = scores_HNK.unflatten(1, (-1, end - begin))
        scores_HGBK[..., begin - first :].masked_fill_(_later(end - begin), -math.inf)
        if window:
            behind_BK = torch.arange(begin, end)[:, None] - torch.arange(first, end)
            scores_HGBK.masked_fill_(behind_BK >= window, -math.inf)
        seen_HND = scores_HNK.softmax(-1) @ value_HTD[:, first:end]
        seen_HGTD[:, :, begin:end] = seen_HND.unflatten(1, (-1, end - begin))
    return seen_HGTD.flatten(0, 1)[None]


@lru_cache(maxsize=BLOCK)
def _later(size: int) -> Tensor:
    """True where a key of a block comes after a query of the same block, [size, size]."""
    return torch.ones(size, size, dtype=torch.bool).triu(1)


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
