"""The lower bounds that cosines of thumbnails give on the SSE of a pair; each with its rounding margin.

For orthonormal columns V, |V^T (a - b)|^2 <= |a - b|^2 = SSE, of the first few columns too. Cosines are such
(levels.py), and those of a picture that is turned are the same ones, in another order and with other signs. What is
kept of a thumbnail is off by at most r = `rounding`, so that of a pair with an SSE of at most L

    |kept of a - kept of b, turned|  <=  sqrt(L) + 2 r.                                              (1)

Differences of whole numbers are exact. So one radius, `radius`, serves for all: for products of the first cosines
(kernel.py), for boxes around blocks of images, which bound whole blocks of pairs, for sums of more and more squares,
and for which orientations of an image can be near another at all (canonical.py). Last come integers. A pair is dropped
only when a bound, less what rounding can have added, is over the limit.
"""

import math
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.arrays import Float32s, Ints
from dupegrid.core.loops import LANES
from dupegrid.images.levels import Cosines, rounding, unit
from dupegrid.pairs.kernel import UNIT_ROUNDOFF

_BLOCKS_AT_ONCE: Final = 256  # put into leaves
_SPREAD_OF: Final = 1 << 12  # images, at most, of which it is looked which cosine differs most
_FLOAT64_SLACK: Final = 1e-9  # far above any rounding of the float64 steps here, far below what could matter


def radius(limit: float, side: int) -> float:
    """The right side of (1), in units: the distance that the cosines of a pair with SSE <= `limit` are within."""
    return (math.sqrt(limit) / unit(side) + 2 * rounding(side)) * (1 + _FLOAT64_SLACK)


def least_sse(distance: float, side: int) -> float:
    """The other way round: the least SSE of a pair whose cosines are so far apart, in units."""
    return max(0.0, distance - 2 * rounding(side)) ** 2 * unit(side) ** 2 * (1 - _FLOAT64_SLACK)


def near_limit(within: float, columns: int) -> float:
    """What a float32 sum of so many squares is at or under where the exact one is at or under `within` squared.

    A term has at most three roundings, of its difference and of its square, and the sum of K positive terms K more, in
    whatever parts: computed <= exact * (1 + u)^(K + 8) <= exact * (1 + 2 (K + 8) u).
    """
    return within * within * (1 + 2 * (columns + 8) * UNIT_ROUNDOFF)


def squared_distances(x: Cosines, y: Cosines) -> Float32s:
    """The squared distances of paired rows, (k, columns) each: float32 (k,), to compare with `near_limit`."""
    difference = np.subtract(x, y, dtype=np.float32)
    sums: Float32s = np.einsum("kc,kc->k", difference, difference)
    return sums


def boxes(points: Float32s | Cosines, starts: Ints) -> tuple[Float32s, Float32s]:
    """Lower and upper corners of each block of consecutive rows: (n, K) and starts and end (B + 1,) -> twice (B, K).

    A block without rows is infinitely far from everything.
    """
    low = np.full((len(starts) - 1, points.shape[1]), np.inf, np.float32)
    high, (filled,) = -low, np.nonzero(np.diff(starts))
    if len(filled):
        low[filled] = np.minimum.reduceat(points, starts[filled], axis=0)
        high[filled] = np.maximum.reduceat(points, starts[filled], axis=0)
    return low, high


def squared_gaps(low: Float32s, high: Float32s, lows: Float32s, highs: Float32s) -> Float32s:
    """Squared distance of one box, (K,) twice, from each of B boxes, (B, K) twice: float32 (B,).

    Of fewer coordinates it is at most that, and `near_limit` covers the rounding. A point is a box, its corners alike.
    """
    gap = np.maximum(low - highs, lows - high)
    np.maximum(gap, 0, out=gap)
    sums: Float32s = np.einsum("bk,bk->b", gap, gap)
    return sums


def median_splits(points: Cosines, keys: Ints, block: int) -> tuple[Ints, Ints]:
    """An order of the images that puts like beside like, and the starts of its blocks of at most `block` images.

    Images are grouped by key, so that no block has two; each group is halved at the median of the widest of its first
    cosines until a block is left, and blocks until leaves are. `points` are these cosines, int16 (n, k), `keys` int64
    (n,). Returns int64 (n,), (B,).
    """
    order = np.argsort(keys, kind="stable")
    points = points.take(order, axis=0)
    edges = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    pending, found = [(start, stop) for start, stop in pairwise(edges) if stop > start], []
    while pending:
        start, stop = pending.pop()
        if stop - start <= block:
            found.append(start)
            continue
        here, half = points[start:stop], (stop - start) // 2 // block * block or block
        some = here[:: -(-(stop - start) // _SPREAD_OF)].astype(np.float32)
        sides = here[:, _widest(some[None])[0]].argpartition(half)
        points[start:stop] = here.take(sides, axis=0)
        order[start:stop] = order[start:stop][sides]
        pending += [(start, start + half), (start + half, stop)]
    starts = np.array(sorted(found), np.int64)
    sizes = np.diff(starts, append=len(order))
    for size in np.unique(sizes).tolist():
        blocks = starts[sizes == size]
        for some in np.split(blocks, range(_BLOCKS_AT_ONCE, len(blocks), _BLOCKS_AT_ONCE)):
            places = some[:, None] + np.arange(size)
            order[places] = np.take_along_axis(order[places], _halved(points[places]), axis=1)
    return order, starts


def _halved(points: Cosines) -> Ints:
    """An order of the points of each block, int16 (B, m, k), that halves it in the same way until leaves are left.

    int64 (B, m). All halves of a level at once: 0.25 s of a million images, and 2 instead of 6 ms of ten thousand.
    """
    blocks, size, k = points.shape
    levels = max(0, (size - 1).bit_length() - (LANES - 1).bit_length())
    whole = LANES << levels
    rows = np.full((blocks, whole, k), points.max(initial=0) + np.float32(1))  # what is no point comes last
    rows[:, :size] = points
    rows, order = rows.reshape(-1, k), np.tile(np.arange(whole), blocks)
    for length in (whole >> level for level in range(levels)):
        parts = rows.reshape(-1, length, k)
        keys = np.take_along_axis(parts, _widest(parts)[:, None, None], axis=2)[..., 0]
        places = (keys.argpartition(length // 2, axis=1) + np.arange(0, len(rows), length)[:, None]).ravel()
        rows, order = rows.take(places, axis=0), order.take(places)
    found: Ints = order[order < size].reshape(blocks, size)
    return found


def _widest(parts: Float32s) -> Ints:
    """The coordinate in which the points of each part, float32 (parts, m, k), vary most: int64 (parts,).

    By einsum, as other sums over the middle axis take five times as long.
    """
    mean = np.einsum("pmk->pk", parts) / parts.shape[1]
    widest: Ints = (np.einsum("pmk,pmk->pk", parts, parts) / parts.shape[1] - mean * mean).argmax(axis=1)
    return widest


def strips(starts: Ints, images: int, side: int, cut: int = 0) -> Ints:
    """Bounds of strips of whole blocks, each of at least `side` images but the last, and one that ends at `cut`.

    int64 (strips + 1,).
    """
    bounds = [0]
    for end in [*starts[1:].tolist(), images]:
        if end - bounds[-1] >= side or end in (cut, images):
            bounds.append(end)
    return np.array(bounds if images else [0], np.int64)
