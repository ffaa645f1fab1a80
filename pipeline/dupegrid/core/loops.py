"""Loops that numba compiles, where the extra `fast` is installed: what they find is what numpy would find.

They hold no lock, stop a sum early where it can only grow, and skip whole leaves of points by their boxes. Of whole
numbers below 2^24 differences are exact, so that sums are as near as bounds.near_limit says, in whatever order.
"""

import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import float32

from dupegrid.core.arrays import Bools, Float32s, Ints, Pixels
from dupegrid.core.hidden_imports import lightly

HEADS: Final = 8  # coordinates that blocks are split by, and that boxes and the first part of a sum are of
FIRST: Final = 24  # coordinates of a point at most, the others are 0
LANES: Final = 16  # looked at together: what is found of them are bits, in a float32, as numba has no narrow integers
LEAVES: Final = 32  # of a block: so many points beside each other have a box
_TERMS: Final = 256  # squares of bytes whose float32 sum is exact, in whatever order: below 2^24
_BITS: Final = (2.0 ** np.arange(LANES)).astype(np.float32)
_PRIME: Final = 19  # divided by it, powers of two below 2^18 leave something else each
_PLACES: Final = np.argsort([(1 << w) % _PRIME for w in range(_PRIME - 1)])  # of what is left, less 1
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
@lightly()
def compiled() -> Loops | None:
    """The loops, compiled and kept on disk; None without numba, or where it cannot compile or keep them.

    None also where whoever filled the working directory says in it what numba is to do, and where others may write to
    the folder that they are kept in: numba runs what is there.
    """
    if os.path.lexists(_SETTINGS):
        return None
    try:
        from numba import config, njit

        by = njit(nogil=True, cache=True, fastmath=_FAST)
        loops = Loops(by(near_columns), by(leaves), by(near_pairs), by(near_rows), by(squares))
        if not config.DISABLE_JIT and _is_ours(Path(loops.squares.stats.cache_path)):  # type: ignore[attr-defined]
            _call(loops)
            return loops
    except Exception:  # such as no place to keep them, one that is full, or what is there is damaged: numpy does it
        pass
    return None


def _is_ours(folder: Path) -> bool:
    """Whether nobody may put files into a folder, or another in its place, who could not change this file as well.

    Its group is trusted: where each user has one, folders are made writable to it.
    """
    trusted, statuses = {os.geteuid(), 0, os.stat(__file__).st_uid}, [folder.stat(), folder.parent.stat()]
    for_all = [bool(status.st_mode & stat.S_IWOTH) for status in statuses]
    is_sticky = bool(statuses[1].st_mode & stat.S_ISVTX)  # like /tmp: nobody moves what is another's
    return all(status.st_uid in trusted for status in statuses) and not for_all[0] and (is_sticky or not for_all[1])


def _call(loops: Loops) -> None:
    """Have all compiled or loaded, for arrays as they are called with: what goes wrong does so here."""
    rows, places, limit = np.zeros((1, HEADS), np.int16), np.zeros(1, np.int64), float32(0)
    points = rows.astype(np.float32)
    ends = np.array([0, 1])
    loops.near_columns((points[0], points[0]), (points, points), ends, places == 0, points.T.copy(), limit)
    loops.near_pairs(loops.leaves(rows), rows, places, places, limit)
    loops.near_rows(rows, rows, (places, places), (np.arange(HEADS), rows[0]), 1, limit)
    loops.squares(points.view(np.uint8), points.view(np.uint8), places, places)


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
    none, near, found = float32(0), np.empty(starts[-1] - starts[0], np.int64), 0
    for block in range(len(asked)):
        gap = none
        for k in range(len(low)):
            gap += max(max(low[k] - highs[block, k], lows[block, k] - high[k]), none) ** 2
        if not asked[block] or gap > limit:
            continue
        for start in range(starts[block], starts[block + 1], LANES):
            begin, bits = np.uint64(start), none  # numba looks whether others count from the end: half as fast
            for w in range(np.uint64(min(LANES, starts[block + 1] - start))):  # all at once, in registers
                gap = none
                for k in range(HEADS):
                    gap += max(max(low[k] - heads[k, begin + w], heads[k, begin + w] - high[k]), none) ** 2
                bits += _BITS[w] if gap <= limit else none
            left = int(bits)
            while left:
                near[found] = start + _PLACES[(left & -left) % _PRIME - 1]
                found, left = found + 1, left & (left - 1)
    return near[:found].copy()


def leaves(points: Int16s) -> tuple[Float32s, Float32s]:
    """Points of a block beside each other, int16 (m, K), m at most 512, as `near_pairs` goes through them.

    Their coordinates by leaf and lane, float32 (32, 24, 16), and the boxes of the leaves, (2, 2, 8, 16).
    """
    lanes = np.zeros((LEAVES, FIRST, LANES), np.float32)
    boxes = np.empty((2, LEAVES // LANES, HEADS, LANES), np.float32)
    boxes[0], boxes[1] = np.inf, -np.inf  # where there are no points
    for place in range(len(points)):
        leaf, lane = place // LANES, place % LANES
        low, high = boxes[0, leaf // LANES, :, leaf % LANES], boxes[1, leaf // LANES, :, leaf % LANES]
        for k in range(points.shape[1]):
            lanes[leaf, k, lane] = points[place, k]
        for k in range(HEADS):
            low[k], high[k] = min(low[k], lanes[leaf, k, lane]), max(high[k], lanes[leaf, k, lane])
    return lanes, boxes


def near_pairs(of_left: tuple[Float32s, Float32s], right: Int16s, columns: Ints, most: Ints, limit: Any) -> Ints:
    """The pairs within a squared distance, int64 (2, found): places in the block, places in `columns`.

    `of_left` are the `leaves` of the block, `columns` rows of `right`, int16 (n, K), K from 8 to 24. Each is compared
    with as many of the block as `most` says, int64 (k,), the first ones.
    """
    lanes, low, high = of_left[0], of_left[1][0], of_left[1][1]
    none, out, found = float32(0), np.empty((most.sum(), 2), np.int64), 0  # memory that is not touched is none
    at = np.zeros(FIRST, np.float32)
    for place in range(len(columns)):
        point, known = columns[place], HEADS
        for k in range(HEADS):
            at[k] = right[point, k]
        for part in range(LEAVES // LANES):
            bits = none
            for w in range(LANES):
                gap = none
                for k in range(HEADS):
                    gap += max(max(low[part, k, w] - at[k], at[k] - high[part, k, w]), none) ** 2
                bits += _BITS[w] if gap <= limit else none
            near = int(bits)
            while near:
                leaf, near = part * LANES + _PLACES[(near & -near) % _PRIME - 1], near & (near - 1)
                bits = none
                for w in range(LANES):
                    begun = none
                    for k in range(HEADS):
                        begun += (lanes[leaf, k, w] - at[k]) ** 2
                    bits += _BITS[w] if begun <= limit else none
                if bits == none:
                    continue
                for k in range(known, right.shape[1]):
                    at[k] = right[point, k]
                known, bits = right.shape[1], none
                for w in range(LANES):
                    total = none
                    for k in range(FIRST):
                        total += (lanes[leaf, k, w] - at[k]) ** 2
                    bits += _BITS[w] if total <= limit else none
                left = int(bits)
                while left:
                    row, left = leaf * LANES + _PLACES[(left & -left) % _PRIME - 1], left & (left - 1)
                    if row < most[place]:
                        out[found, 0], out[found, 1], found = row, place, found + 1
    return out[:found].T.copy()


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


def squares(first: Pixels, second: Pixels, x: Ints, y: Ints) -> Ints:
    """The SSE of paired rows, uint8 (m, values) and (n, values) by their places: int64 (k,)."""
    out = np.empty(len(x), np.int64)
    for pair in range(len(x)):
        a, b, total = first[x[pair]], second[y[pair]], 0
        for start in range(0, len(a), _TERMS):
            c, d, part = a[start : start + _TERMS], b[start : start + _TERMS], float32(0)
            for k in range(len(c)):
                part += (float32(c[k]) - float32(d[k])) ** 2
            total += int(part)
        out[pair] = total
    return out
