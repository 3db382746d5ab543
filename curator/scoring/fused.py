"""The figures of a row of logits in two passes over it, compiled for this CPU; comes with vLLM, which brings numba.

torch needs a dozen passes for the same, each from and to memory.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

BLOCK = 128
"""Columns of which the maximum is kept: the top k lie in the k blocks with the highest maxima."""
LOG2_E = np.float32(math.log2(math.e))
LOWEST = np.float32(-math.inf)
SMALLEST = np.float32(-126)
"""Exponents below have no normal float32; such a probability is none."""
EXP2 = tuple(
    np.float32(c)
    for c in (1.5353362e-4, 1.3398874e-3, 9.6184370e-3, 5.5503324e-2, 2.4022648e-1, 6.9314720e-1, 1.0)
)
"""2^f for f in 0..1, the minimax polynomial of degree 6; highest power first."""


@njit(inline="always")
def _exp2(power):  # type: ignore[no-untyped-def]
    """2^power for powers from -126 to 0, in operations that the compiler can do sixteen at a time."""
    whole = np.floor(power)
    rest = power - whole
    found = EXP2[0]
    for i in range(1, len(EXP2)):
        found = found * rest + EXP2[i]
    return found * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


def _widened(row, wide, maxima):  # type: ignore[no-untyped-def]
    """A row of logits as float32: itself, or in `wide` if it is the bits of bfloat16, half of a float32's. Fills
    `maxima` with those of its blocks."""
    raise NotImplementedError


@overload(_widened, jit_options={"fastmath": {"nnan", "nsz"}})
def _of_kind(row, wide, maxima):  # type: ignore[no-untyped-def]
    def from_bits(row, wide, maxima):  # type: ignore[no-untyped-def]
        for b in range(len(maxima)):
            best = LOWEST
            for j in range(b * BLOCK, min((b + 1) * BLOCK, len(row))):
                value = np.uint32(np.uint32(row[j]) << np.uint32(16)).view(np.float32)
                wide[j] = value
                best = value if value > best else best
            maxima[b] = best
        return wide

    def itself(row, wide, maxima):  # type: ignore[no-untyped-def]
        for b in range(len(maxima)):
            best = LOWEST
            for j in range(b * BLOCK, min((b + 1) * BLOCK, len(row))):
                best = row[j] if row[j] > best else best
            maxima[b] = best
        return row

    return from_bits if row.dtype == types.uint16 else itself


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
def fused_figures(logits, following, figures, ranks, top_ids, top_logits):  # type: ignore[no-untyped-def]
    """Of `logits` [P, V], float32 or the bits of bfloat16 as uint16, and int64 `following` [P] fill float32 `figures`
    [P, 4], with the token's logit, the maximum m, ln Σ exp(x - m) and Σ p·(x - m); int32 `ranks` [P]; int32 `top_ids`
    and float32 `top_logits` [P, K], highest first.
    """
    rows, width = logits.shape
    wide = np.empty(width, np.float32)
    maxima = np.empty((width + BLOCK - 1) // BLOCK, np.float32)
    for i in range(rows):
        row = _widened(logits[i], wide, maxima)
        largest = maxima.max()
        chosen = row[following[i]]
        total = weighted = np.float32(0)
        above = np.int32(0)
        for j in range(width):
            power = (row[j] - largest) * LOG2_E
            power = SMALLEST if power < SMALLEST else power  # unlike max() it leaves what is no number
            part = _exp2(power)
            total += part
            weighted += part * power
            above += np.int32(row[j] > chosen)
        figures[i, 0] = chosen
        figures[i, 1] = largest
        figures[i, 2] = np.log(total)
        figures[i, 3] = weighted / total / LOG2_E
        ranks[i] = above + 1
        if top_ids.shape[1]:
            _top(row, maxima, top_ids[i], top_logits[i])


@njit(inline="always")
def _insert(value, place, values):  # type: ignore[no-untyped-def]
    """Where `value` comes to stand among the highest so far, from `place` upwards; the lower ones make room."""
    while place and values[place - 1] < value:
        values[place] = values[place - 1]
        place -= 1
    values[place] = value
    return place


@njit(nogil=True, cache=True)
def _top(row, maxima, ids, values):  # type: ignore[no-untyped-def]
    """The k highest of a row, by insertion; blocks whose maximum is too low are passed over."""
    k = len(ids)
    floor = LOWEST
    if k < len(maxima):
        values[:] = LOWEST
        for best in maxima:
            if best > values[k - 1]:
                _insert(best, k - 1, values)
        floor = values[k - 1]
    found = 0
    for b in range(len(maxima)):
        if maxima[b] < floor:
            continue
        for j in range(b * BLOCK, min((b + 1) * BLOCK, len(row))):
            if row[j] < floor or (found == k and row[j] <= values[k - 1]):
                continue
            last = min(found, k - 1)
            place = _insert(row[j], last, values)
            for later in range(last, place, -1):
                ids[later] = ids[later - 1]
            ids[place] = j
            found = min(found + 1, k)
