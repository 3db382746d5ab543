"""What is done to every number of a large matrix, in two passes over it, compiled for this CPU; for those who have numba,
which comes with vLLM.

torch needs a dozen passes for the same, each from and to memory. bfloat16, which numpy lacks, is given as its bits.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

BLOCK = 128
"""Columns of which the maximum is kept: the top k lie in the k blocks with the highest maxima."""
LOG2_E = np.float32(math.log2(math.e))
LOWEST = np.int32(-(2**31))
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


def _bits(logit):  # type: ignore[no-untyped-def]
    """The bits of a float32 as int32: of one given as such, or of a bfloat16, which are its upper half, as uint16."""
    raise NotImplementedError


@overload(_bits, inline="always")
def _of_kind(logit):  # type: ignore[no-untyped-def]
    if logit is types.uint16:
        return lambda logit: np.int32(np.uint32(logit) << np.uint32(16))
    return lambda logit: logit


@njit(inline="always")
def _ordered(bits):  # type: ignore[no-untyped-def]
    """Integers that order as the floats of these bits, and back: the compiler takes the maximum of sixteen at a time
    only of integers. What is no number comes out highest."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit(inline="always")
def _float(bits):  # type: ignore[no-untyped-def]
    return np.int32(bits).view(np.float32)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
def fused_figures(logits, following, figures, ranks, top_ids, top_logits):  # type: ignore[no-untyped-def]
    """Of `logits` [P, V], the bits of float32 as int32 or of bfloat16 as uint16, and int64 `following` [P] fill float32
    `figures` [P, 4], with the token's logit, the maximum m, ln Σ exp(x - m) and Σ p·(x - m); int32 `ranks` [P]; int32
    `top_ids` and float32 `top_logits` [P, K], highest first.
    """
    rows, width = logits.shape
    maxima = np.empty((width + BLOCK - 1) // BLOCK, np.int32)
    highest = np.empty(top_ids.shape[1], np.int32)
    for i in range(rows):
        row = logits[i]
        _maxima(row, maxima)
        largest = _float(_ordered(maxima.max()))
        total = weighted = np.float32(0)
        for j in range(width):
            power = (_float(_bits(row[j])) - largest) * LOG2_E
            power = SMALLEST if power < SMALLEST else power  # unlike max() it leaves what is no number
            part = _exp2(power)
            total += part
            weighted += part * power
        chosen = _float(_bits(row[following[i]]))
        above = np.int32(0)
        for j in range(width):  # with the loop above it would be slower: one register too many
            above += np.int32(_float(_bits(row[j])) > chosen)
        figures[i, 0] = chosen
        figures[i, 1] = largest
        figures[i, 2] = np.log(total)
        figures[i, 3] = weighted / total / LOG2_E
        ranks[i] = above + 1
        if len(highest):
            _top(row, maxima, top_ids[i], highest)
            for k in range(len(highest)):
                top_logits[i, k] = _float(_ordered(highest[k]))


@njit(inline="always")
def _maxima(row, maxima):  # type: ignore[no-untyped-def]
    """The highest of each block, in integers that are ordered as the logits."""
    for b in range(len(maxima)):
        block = row[b * BLOCK : (b + 1) * BLOCK]
        best = LOWEST
        for j in range(len(block)):
            value = _ordered(_bits(block[j]))
            best = value if value > best else best
        maxima[b] = best


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
    """The k highest of a row, by insertion, in ordered integers; blocks whose maximum is too low are passed over."""
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
        block = row[b * BLOCK : (b + 1) * BLOCK]
        for j in range(len(block)):
            value = _ordered(_bits(block[j]))
            if value < floor or (found == k and value <= values[k - 1]):
                continue
            last = min(found, k - 1)
            place = _insert(value, last, values)
            for later in range(last, place, -1):
                ids[later] = ids[later - 1]
            ids[place] = b * BLOCK + j
            found = min(found + 1, k)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
def fused_softmax(scores, queries, seen, window, scale):  # type: ignore[no-untyped-def]
    """Turn `scores` [N, K], bits of bfloat16 as uint16, times `scale` into their softmax over the keys seen.

    The rows are `queries` in turn, over and over: the first sees the first `seen` keys, each later one a key more, and
    all no more than the last `window` of theirs.
    """
    rows, width = scores.shape
    powers = np.empty(width, np.float32)
    scale *= LOG2_E
    for i in range(rows):
        row = scores[i]
        end = seen + i % queries
        begin = max(0, end - window)
        among, kept = row[begin:end], powers[begin:end]
        largest = LOWEST
        for j in range(len(among)):
            value = _ordered(_bits(among[j]))
            largest = value if value > largest else largest
        best = _float(_ordered(largest))
        total = np.float32(0)
        for j in range(len(among)):
            power = (_float(_bits(among[j])) - best) * scale
            power = SMALLEST if power < SMALLEST else power
            part = _exp2(power)
            kept[j] = part
            total += part
        total = np.float32(1) / total
        for j in range(len(among)):
            among[j] = _rounded(kept[j] * total)
        row[:begin] = 0
        row[end:] = 0


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
def fused_norm(rows, weight, normed, epsilon):  # type: ignore[no-untyped-def]
    """Each of `rows` [N, D] divided by the root of its mean square plus `epsilon`, rounded, times `weight` [D], into
    `normed` [N, D]; all bits of bfloat16 as uint16."""
    count, width = rows.shape
    for i in range(count):
        row, out = rows[i], normed[i]
        total = np.float32(0)
        for j in range(width):
            value = _float(_bits(row[j]))
            total += value * value
        inverse = np.float32(1) / np.sqrt(total / np.float32(width) + epsilon)
        for j in range(width):
            value = _float(_bits(_rounded(_float(_bits(row[j])) * inverse)))
            out[j] = _rounded(value * _float(_bits(weight[j])))


@njit(inline="always")
def _rounded(value):  # type: ignore[no-untyped-def]
    """The bits of the nearest bfloat16, of two equally near the even one; what is no number stays so."""
    bits = np.float32(value).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
