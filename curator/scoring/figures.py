"""From hidden states to what is kept of the logits, in one pass over the vocabulary.

Shapes: P positions, D width, V vocabulary, K top-k, N columns in a block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from forgetless.curator.head import Head

try:
    from forgetless.curator.scoring.fused import fused_figures
except ImportError:  # numba comes with vLLM; without it torch does the same in more passes
    fused_figures = None

LOGIT_BYTES = {"cpu": 12 << 20, "cuda": 512 << 20}
"""Of logits that exist at once: those of a whole batch would fill the memory."""
TILE = 64
"""Rows that a matrix product works on at once; a tenth of its time goes into a rest."""
CACHED_BYTES = 2 << 20
"""Of fp32 logits that are worked on at once on a CPU, so that they stay in its cache from one step to the next."""
BLOCK = 128
"""Columns of which the maximum is taken first: the top k lie in the k blocks with the highest maxima."""
LEAST = -1e4
"""Stands for a logit of -inf, which would make a probability of zero times infinity of it."""


def token_figures(head: Head, hidden_PD: Tensor, next_P: Tensor, top_k: int = 0) -> tuple[Tensor, ...]:
    """Log-prob, entropy (float32 [P], nats) and rank (int32 [P]) of the tokens `next_P`; with `top_k` also the
    most probable ids (int32 [P, K]), their log-probs (float32 [P, K]) and the mass of all others (float32 [P]).

    The head multiplies in the type of its weights, all that follows is fp32.
    Entropy is ln Σ exp(x - m) - Σ p·(x - m), with m = max x.
    """
    weight_VD = head.linear.weight
    rows = max(1, LOGIT_BYTES[weight_VD.device.type] // (weight_VD.shape[0] * weight_VD.itemsize))
    rows = rows // TILE * TILE or rows
    pieces = zip(hidden_PD.split(rows), next_P.split(rows), strict=True)
    parts = [part for piece in pieces for part in _parts(head, *piece, top_k)]
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def _parts(head: Head, hidden_PD: Tensor, next_P: Tensor, top_k: int) -> Iterator[tuple[Tensor, ...]]:
    logits_PV = head.linear(hidden_PD)
    if logits_PV.is_cuda:
        yield _figures(head.finish(logits_PV), next_P, top_k)
        return
    as_it_is = (
        fused_figures is not None and head.plain
    )  # read where it lies; else made fp32, as much as fits the cache
    rows = len(next_P) if as_it_is else max(1, CACHED_BYTES // (4 * logits_PV.shape[1]))
    figures = _figures if fused_figures is None else _fused
    for some_PV, some_P in zip(logits_PV.split(rows), next_P.split(rows), strict=True):
        yield figures(some_PV if as_it_is else head.finish(some_PV), some_P, top_k)


def _figures(logits_PV: Tensor, next_P: Tensor, top_k: int) -> tuple[Tensor, ...]:
    """Of fp32 logits, which are overwritten."""
    top_PK, ids_PK = _top(logits_PV, max(1, top_k))
    best_P1 = top_PK[:, :1]
    shifted_PV = logits_PV.sub_(best_P1)
    probs_PV = shifted_PV.softmax(1)
    total_P = (
        -probs_PV.gather(1, ids_PK[:, :1]).squeeze(1).log()
    )  # ln Σ exp(shifted), whose largest term is 1
    chosen_P1 = shifted_PV.gather(1, next_P[:, None])
    rank_P = (shifted_PV > chosen_P1).sum(1, dtype=torch.int32) + 1
    mean_P = torch.linalg.vecdot(probs_PV, shifted_PV)
    if mean_P.isnan().any():
        mean_P = torch.linalg.vecdot(probs_PV, shifted_PV.clamp_(min=LEAST))
    return _kept(chosen_P1.squeeze(1), total_P, mean_P, rank_P, ids_PK[:, :top_k], top_PK - best_P1)


def _fused(logits_PV: Tensor, next_P: Tensor, top_k: int) -> tuple[Tensor, ...]:
    """Of fp32 or bf16 logits on a CPU."""
    count, top_k = len(next_P), min(top_k, logits_PV.shape[1])
    figures_P4, rank_P = torch.empty(count, 4), torch.empty(count, dtype=torch.int32)
    ids_PK, top_PK = torch.empty(count, top_k, dtype=torch.int32), torch.empty(count, top_k)
    bits_PV = logits_PV.view(torch.uint16 if logits_PV.dtype == torch.bfloat16 else torch.int32)
    fused_figures(*(x.numpy() for x in (bits_PV, next_P, figures_P4, rank_P, ids_PK, top_PK)))
    chosen_P, best_P, total_P, mean_P = figures_P4.unbind(1)
    return _kept(chosen_P - best_P, total_P, mean_P, rank_P, ids_PK, top_PK - best_P[:, None])


def _kept(
    chosen_P: Tensor, total_P: Tensor, mean_P: Tensor, rank_P: Tensor, ids_PK: Tensor, top_PK: Tensor
) -> tuple[Tensor, ...]:
    """The figures from the shifted logits' own, their ln Σ exp, their mean, and the highest."""
    figures = (chosen_P - total_P, total_P - mean_P, rank_P)
    if not ids_PK.shape[1]:
        return figures
    top_PK = top_PK - total_P[:, None]
    return *figures, ids_PK.int(), top_PK, (1 - top_PK.exp().sum(1)).clamp(min=0)


def _top(logits_PV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`topk`, several times as fast on a CPU: blocks first, then what is in the best of them."""
    width = logits_PV.shape[1]
    whole = width // BLOCK
    k = min(k, width)
    if logits_PV.is_cuda or k >= whole:
        top = logits_PV.topk(k, 1)
        return top.values, top.indices
    blocks_PBN = logits_PV[:, : whole * BLOCK].unflatten(1, (whole, BLOCK))
    best_PK = blocks_PBN.amax(2).topk(k, 1).indices
    places_PM = (best_PK[:, :, None] * BLOCK + torch.arange(BLOCK)).flatten(1)
    rest_M = torch.arange(whole * BLOCK, width).expand(len(places_PM), -1)
    places_PM = torch.cat([places_PM, rest_M], 1)
    top = logits_PV.gather(1, places_PM).topk(k, 1)
    return top.values, places_PM.gather(1, top.indices)
