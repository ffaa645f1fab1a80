"""Loops that numba compiles, where the extra `fast` is installed: what they find is what numpy would find.

They hold no lock, stop a sum early where it can only grow, and skip whole leaves of points by their boxes. Of whole
numbers below 2^24 differences are exact, so that sums are as near as bounds.near_limit says, in whatever order.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from dupegrid.core.arrays import Float32s, Ints, Pixels

HEADS: Final = 8  # coordinates that blocks are split by, and that boxes and the first part of a sum are of
LEAF: Final = 32  # points beside each other that have a box; their bits make up a word
_SETTINGS: Final = ".numba_config.yaml"  # in the working directory: numba would load its code from where that says
_FAST: Final = {"contract", "reassoc", "nnan"}  # sums in any order, fused or not, of what is a number


class Loops(NamedTuple):
    """The compiled functions; what each gives is said below."""

    near_columns: Callable[..., Ints]
    near_pairs: Callable[..., Ints]
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
        loops = Loops(by(near_columns), by(near_pairs), by(squares))
        if not config.DISABLE_JIT:
            _call(loops)
            return loops
    except Exception:  # such as no place to keep them, one that is full, or what is there is damaged: numpy does it
        pass
    return None


def _call(loops: Loops) -> None:
    """Have all compiled or loaded, for arrays as they are called with: what goes wrong does so here."""
    points, places = np.zeros((1, HEADS), np.float32), np.zeros(1, np.int64)
    loops.near_columns(points[0], points[0], points, places, np.float32(0))
    loops.near_pairs(points, points, places, HEADS, np.float32(0))
    loops.squares(points.view(np.uint8), places, places, places[:0])


def near_columns(low: Float32s, high: Float32s, points: Float32s, columns: Ints, limit: Any) -> Ints:
    """Those of the points named that are within a squared distance of a box, by their first coordinates: int64 (m,).

    `low` and `high` (K,), `points` float32 (n, K or more), `columns` int64 (k,); `limit` float32, of float32 sums.
    """
    near, found = np.empty(len(columns), np.int64), 0
    for place in range(len(columns)):
        point, gap = points[columns[place]], np.float32(0)
        for k in range(HEADS):
            apart = max(max(low[k] - point[k], point[k] - high[k]), np.float32(0))
            gap += apart * apart
        if gap <= limit:
            near[found] = columns[place]
            found += 1
    return near[:found].copy()


def near_pairs(left: Float32s, right: Float32s, columns: Ints, terms: int, limit: Any) -> Ints:
    """The pairs within a squared distance, int64 (2, found): rows of `left`, places in `columns`, rows of `right`.

    Points are the first `terms` coordinates, at least 8, of rows, float32 (m, K) and (n, K). Of `left` like are best
    beside like.
    """
    lanes, found = np.empty((HEADS, LEAF), np.float32), 0
    a, b, c, d, e, f, g, h = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5], lanes[6], lanes[7]
    out = np.empty((2, 1024), np.int64)
    for start in range(0, len(left), LEAF):
        leaf = left[start : start + LEAF]
        for w in range(LEAF):
            for k in range(HEADS):
                lanes[k, w] = leaf[min(w, len(leaf) - 1), k]
        low, high = np.empty(HEADS, np.float32), np.empty(HEADS, np.float32)
        for k in range(HEADS):
            low[k], high[k] = lanes[k].min(), lanes[k].max()
        for place in range(len(columns)):
            r, gap = right[columns[place]], np.float32(0)
            for k in range(HEADS):
                apart = max(max(low[k] - r[k], r[k] - high[k]), np.float32(0))
                gap += apart * apart
            if gap > limit:
                continue
            o, p, q, s, t, u, v, x = r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
            near = np.uint32(0)
            for w in range(LEAF):  # all at once, in registers
                begun = (a[w] - o) ** 2 + (b[w] - p) ** 2 + (c[w] - q) ** 2 + (d[w] - s) ** 2
                begun += (e[w] - t) ** 2 + (f[w] - u) ** 2 + (g[w] - v) ** 2 + (h[w] - x) ** 2
                near |= np.uint32(begun <= limit) << np.uint32(w)
            for w in range(len(leaf) if near else 0):
                if (near >> np.uint32(w)) & np.uint32(1):
                    total = np.float32(0)
                    for k in range(terms):
                        total += (leaf[w, k] - r[k]) ** 2
                    if total <= limit:
                        if found == out.shape[1]:
                            out = np.concatenate((out, out), axis=1)
                        out[0, found], out[1, found] = start + w, place
                        found += 1
    return out[:, :found].copy()


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
        for k in range(len(a)):
            apart = int(a[k]) - int(b[k])
            total += apart * apart
        out[pair] = total
    return out
