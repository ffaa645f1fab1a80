"""Loops that numba compiles, where the extra `fast` is installed: what they find is what numpy would find.

They hold no lock, stop a sum early where it can only grow, and skip whole leaves of points by their boxes. Of whole
numbers below 2^24 differences are exact, so that sums are as near as bounds.near_limit says, in whatever order.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import float32

from dupegrid.core.arrays import Bools, Float32s, Ints, Pixels

HEADS: Final = 8  # coordinates that blocks are split by, and that boxes and the first part of a sum are of
LEAF: Final = 32  # points beside each other that have a box
LEAVES: Final = 16  # of a block
LANES: Final = 16  # looked at together: what is found of them are bits, in a float32, as numba has no narrow integers
_TERMS: Final = 256  # squares of bytes whose float32 sum is exact, in whatever order: below 2^24
_BITS: Final = (2.0 ** np.arange(LANES)).astype(np.float32)
Int16s = npt.NDArray[np.int16]

_SETTINGS: Final = ".numba_config.yaml"  # in the working directory: numba would load its code from where that says
_FAST: Final = {"contract", "reassoc", "nnan"}  # sums in any order, fused or not, of what is a number


class Loops(NamedTuple):
    """The compiled functions; what each gives is said below."""

    near_columns: Callable[..., Ints]
    leaves: Callable[..., tuple[Float32s, Float32s]]
    near_pairs: Callable[..., Ints]
    near_rows: Callable[..., Bools]
    squares: Callable[..., Ints]


@cache
def compiled() -> Loops | None:
    """The loops, compiled and kept on disk; None without numba, or where it cannot compile or keep them.

    None also where whoever filled the working directory says in it what numba is to do.
    """
    if os.path.lexists(_SETTINGS):
        return None
    try:
        from numba import config, njit

        by = njit(nogil=True, cache=True, fastmath=_FAST)
        loops = Loops(by(near_columns), by(leaves), by(near_pairs), by(near_rows), by(squares))
        if not config.DISABLE_JIT:
            _call(loops)
            return loops
    except Exception:  # such as no place to keep them, one that is full, or what is there is damaged: numpy does it
        pass
    return None


def _call(loops: Loops) -> None:
    """Have all compiled or loaded, for arrays as they are called with: what goes wrong does so here."""
    rows, places, limit = np.zeros((1, HEADS), np.int16), np.zeros(1, np.int64), float32(0)
    points = rows.astype(np.float32)
    ends = np.array([0, 1])
    loops.near_columns((points[0], points[0]), (points, points), ends, places == 0, points.T.copy(), limit)
    loops.near_pairs(rows, loops.leaves(rows), rows, places, limit)
    loops.near_rows(rows, rows, (places, places), (np.arange(HEADS), rows[0]), 1, limit)
    loops.squares(points.view(np.uint8), places, places, places[:0])


def near_columns(
    box: tuple[Float32s, Float32s],
    boxes: tuple[Float32s, Float32s],
    starts: Ints,
    asked: Bools,
    heads: Float32s,
    limit: Any,
) -> Ints:
    """The points within a squared distance of a box, in blocks that are asked for and whose box is: int64 (m,).

    A box is its corners, (K,) twice, those of the blocks (B, K) twice; `starts` of these and the end, (B + 1,), `asked`
    bool (B,), `heads` the first coordinates of all points, float32 (8, n); `limit` float32, of float32 sums.
    """
    (low, high), (lows, highs) = box, boxes
    a, b, c, d, e, f, g, h = low[0], low[1], low[2], low[3], low[4], low[5], low[6], low[7]
    o, p, q, r, s, t, u, v = high[0], high[1], high[2], high[3], high[4], high[5], high[6], high[7]
    none, near, found = float32(0), np.empty(starts[-1] - starts[0], np.int64), 0
    for block in range(len(asked)):
        gap = none
        for at in range(len(low)):
            gap += max(max(low[at] - highs[block, at], lows[block, at] - high[at]), none) ** 2
        if not asked[block] or gap > limit:
            continue
        for start in range(starts[block], starts[block + 1], LANES):
            stop, bits = min(start + LANES, starts[block + 1]), none
            i, j, k, z = heads[0, start:stop], heads[1, start:stop], heads[2, start:stop], heads[3, start:stop]
            m, n, x, y = heads[4, start:stop], heads[5, start:stop], heads[6, start:stop], heads[7, start:stop]
            for w in range(stop - start):  # all at once, in registers
                gap = max(max(a - i[w], i[w] - o), none) ** 2 + max(max(b - j[w], j[w] - p), none) ** 2
                gap += max(max(c - k[w], k[w] - q), none) ** 2 + max(max(d - z[w], z[w] - r), none) ** 2
                gap += max(max(e - m[w], m[w] - s), none) ** 2 + max(max(f - n[w], n[w] - t), none) ** 2
                gap += max(max(g - x[w], x[w] - u), none) ** 2 + max(max(h - y[w], y[w] - v), none) ** 2
                bits += _BITS[w] if gap <= limit else none
            for w in range(stop - start if bits else 0):
                near[found] = start + w
                found += (int(bits) >> w) & 1
    return near[:found].copy()


def leaves(points: Int16s) -> tuple[Float32s, Float32s]:
    """Points of a block beside each other, int16 (m, K), m at most 512, as `near_pairs` goes through them.

    Their first coordinates by leaf and lane, float32 (16, 8, 32), and the boxes of the leaves, (2, 8, 16).
    """
    lanes, boxes = np.zeros((LEAVES, HEADS, LEAF), np.float32), np.empty((2, HEADS, LEAVES), np.float32)
    boxes[0], boxes[1] = np.inf, -np.inf  # where there are no points
    for place in range(len(points)):
        leaf = place // LEAF
        for k in range(HEADS):
            value = float32(points[place, k])
            lanes[leaf, k, place % LEAF] = value
            boxes[0, k, leaf] = min(boxes[0, k, leaf], value)
            boxes[1, k, leaf] = max(boxes[1, k, leaf], value)
    return lanes, boxes


def near_pairs(left: Int16s, of_left: tuple[Float32s, Float32s], right: Int16s, columns: Ints, limit: Any) -> Ints:
    """The pairs within a squared distance, int64 (2, found): rows of `left`, places in `columns`, rows of `right`.

    Points are rows, int16 (m, K) and (n, K), K at least 8. `of_left` are their `leaves`.
    """
    lanes, (low, high) = of_left[0], (of_left[1][0], of_left[1][1])
    none, out, found = float32(0), np.empty((2, 1024), np.int64), 0
    for place in range(len(columns)):
        row = columns[place]
        o, p, q, r = float32(right[row, 0]), float32(right[row, 1]), float32(right[row, 2]), float32(right[row, 3])
        s, t, u, v = float32(right[row, 4]), float32(right[row, 5]), float32(right[row, 6]), float32(right[row, 7])
        bits = none
        for w in range(LEAVES):
            gap = max(max(low[0, w] - o, o - high[0, w]), none) ** 2
            gap += max(max(low[1, w] - p, p - high[1, w]), none) ** 2
            gap += max(max(low[2, w] - q, q - high[2, w]), none) ** 2
            gap += max(max(low[3, w] - r, r - high[3, w]), none) ** 2
            gap += max(max(low[4, w] - s, s - high[4, w]), none) ** 2
            gap += max(max(low[5, w] - t, t - high[5, w]), none) ** 2
            gap += max(max(low[6, w] - u, u - high[6, w]), none) ** 2
            gap += max(max(low[7, w] - v, v - high[7, w]), none) ** 2
            bits += _BITS[w] if gap <= limit else none
        near = int(bits)
        for leaf in range(LEAVES if near else 0):
            for half in range(0, LEAF if (near >> leaf) & 1 else 0, LANES):
                bits = none
                for w in range(half, half + LANES):
                    begun = (lanes[leaf, 0, w] - o) ** 2 + (lanes[leaf, 1, w] - p) ** 2
                    begun += (lanes[leaf, 2, w] - q) ** 2 + (lanes[leaf, 3, w] - r) ** 2
                    begun += (lanes[leaf, 4, w] - s) ** 2 + (lanes[leaf, 5, w] - t) ** 2
                    begun += (lanes[leaf, 6, w] - u) ** 2 + (lanes[leaf, 7, w] - v) ** 2
                    bits += _BITS[w - half] if begun <= limit else none
                first = leaf * LEAF + half
                for w in range(min(LANES, len(left) - first) if bits else 0):
                    if (int(bits) >> w) & 1:
                        total = none
                        for k in range(left.shape[1]):
                            total += (float32(left[first + w, k]) - float32(right[row, k])) ** 2
                        if total <= limit:
                            if found == out.shape[1]:
                                out = np.concatenate((out, out), axis=1)
                            out[0, found], out[1, found] = first + w, place
                            found += 1
    return out[:, :found].copy()


def near_rows(
    first: Int16s, second: Int16s, pairs: tuple[Ints, Ints], turning: tuple[Ints, Int16s], begun: int, limit: Any
) -> Bools:
    """Which paired rows, int16 (m, K) and (n, K) by their places, are within a squared distance: bool (k,).

    Those of `second` with their values in the order of `turning`, int64 (K,), times its signs; a sum that is over the
    limit after as many as `begun` is given up.
    """
    (x, y), (columns, signs) = pairs, turning
    near = np.empty(len(x), np.bool_)
    for pair in range(len(x)):
        a, b, total, start = first[x[pair]], second[y[pair]], float32(0), 0
        for stop in (begun, len(columns)):
            for k in range(start, stop if total <= limit else start):
                total += (float32(a[k]) - float32(b[columns[k]]) * float32(signs[k])) ** 2
            start = stop
        near[pair] = total <= limit
    return near


def squares(images: Pixels, x: Ints, y: Ints, columns: Ints) -> Ints:
    """The SSE of paired rows, uint8 (n, values) by their places, of y with its values in this order: int64 (k,)."""
    out, turned = np.empty(len(x), np.int64), np.empty(images.shape[1], np.uint8)
    for pair in range(len(x)):
        a, b = images[x[pair]], images[y[pair]]
        if len(columns):
            for k in range(len(turned)):
                turned[k] = b[columns[k]]
            b = turned
        total = 0
        for start in range(0, len(a), _TERMS):
            c, d, part = a[start : start + _TERMS], b[start : start + _TERMS], float32(0)
            for k in range(len(c)):
                part += (float32(c[k]) - float32(d[k])) ** 2
            total += int(part)
        out[pair] = total
    return out
