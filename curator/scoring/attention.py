"""Causal attention over records laid end to end, each seeing only itself: no padding, no mask of all by all.

Shapes: H heads, G queries' heads for each head of keys, T tokens of all records, D head size.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
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
    query_HGTD, out_HGTD = query.unflatten(0, (heads, -1)), out.unflatten(0, (heads, -1))
    key_HTD, value_HTD = key.contiguous(), value.contiguous()
    if math.frexp(scale)[0] == 0.5:  # a power of two, as with heads of 64: multiplying by it rounds nothing
        key_HTD, scale = key_HTD * scale, 1.0
    for begin in range(0, length, BLOCK):
        end = min(begin + BLOCK, length)
        first = max(0, begin - window + 1) if window else 0
        block_HND = query_HGTD[:, :, begin:end].reshape(heads, -1, size)
        keys_HDK = key_HTD[:, first:end].transpose(1, 2)
        # One that rounds is multiplied by while sums are fp32, though baddbmm copies what is times zero.
        scores_HNK = (
            block_HND @ keys_HDK
            if scale == 1
            else torch.baddbmm(block_HND.new_zeros(1, 1, 1), block_HND, keys_HDK, beta=0, alpha=scale)
        )
        scores_HGBK = scores_HNK.unflatten(1, (-1, end - begin))
        scores_HGBK[..., begin - first :] += _later(end - begin, query.dtype)
        if window:
            behind_BK = torch.arange(begin, end)[:, None] - torch.arange(first, end)
            scores_HGBK.masked_fill_(behind_BK >= window, -math.inf)
        seen_HND = scores_HNK.softmax(-1) @ value_HTD[:, first:end]
        out_HGTD[:, :, begin:end] = seen_HND.unflatten(1, (-1, end - begin))


@cache
def _later(size: int, dtype: torch.dtype) -> Tensor:
    """-inf where a key of a block comes after a query of the same block, else 0; [size, size]."""
    return torch.full((size, size), -math.inf, dtype=dtype).triu(1)


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
