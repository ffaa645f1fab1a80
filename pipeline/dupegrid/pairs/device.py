"""One tile by MSE on a device: the steps of tile.py for many blocks at once, on any array module.

Squares of two blocks whose boxes are near each other are multiplied, a thousand in one call. Of the products only what
is within the limit is gathered; then all cosines and integers decide. What comes back are matches and counts.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import Bools, Ints, array_module, free_bytes, give_back_memory, gpus, named_module, on_host
from dupegrid.core.config import Config
from dupegrid.images.levels import prefixes
from dupegrid.pairs.bounds import near_limit, radius
from dupegrid.pairs.canonical import as_found
from dupegrid.pairs.job import Job
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.points import check, near
from dupegrid.pairs.resident import DeviceStrip, KeptThumbs, square_side, strip_on_device
from dupegrid.pairs.steps import Pairs, Step, aspect_filter, block_filters, least, through

_PAIRS_A_CALL: Final = 1 << 28  # 16,384 x 16,384: their bits take 34 MB, or their product 1 GB
_BYTES_A_PAIR: Final = 32  # of a call, with all that comes of it
_COSINES_AT_ONCE: Final = 1 << 19  # pairs whose cosines are compared: 1.2 GB


@dataclass(frozen=True)
class _Tile:
    """Two strips on a device, and how near the points of a match are."""

    job: Job
    first: DeviceStrip
    second: DeviceStrip
    within: float


@dataclass(frozen=True)
class _Squares:
    """Blocks of the first strip with blocks of the second: int64 (k,); how many pairs of images each is, int64 (k,).

    `near` is which orientations are left of each, bool (orientations, k).
    """

    rows: Ints
    columns: Ints
    pairs: Ints
    near: Bools

    def only(self, keep: Any) -> "_Squares":
        return _Squares(self.rows[keep], self.columns[keep], self.pairs[keep], self.near[:, keep])

    @property
    def count(self) -> int:
        return int(self.pairs.sum())


def device_of(config: Config) -> str:
    """The array module that tiles are compared with on a device, empty where they are on the cores."""
    if config.scheduler != "gpu":
        return "cupy" if config.array == "cupy" else ""
    return "numpy" if config.allow_cpu and not gpus() else "cupy"


def check_device(config: Config, client: Any) -> None:
    """UsageError where the work is to be done on GPUs here, there is none, and the cores are not to do it instead."""
    if config.scheduler == "gpu" and client in (None, False) and device_of(config) == "cupy":
        named_module("cupy")


def compare_on_device(job: Job, i: int, j: int, tally: Counter[str], writer: PartWriter) -> None:
    """Give the pairs of tile (i, j) at or under the limit to the writer, and count how all were decided.

    Once memory is lacking, half as many squares are compared at a time; MemoryError where it does not suffice for one.
    """
    xp = _opened(job.device)
    side = square_side(job, {i, j})
    first = strip_on_device(job, i, xp, side)
    second = first if i == j else strip_on_device(job, j, xp, side)
    tile = _Tile(job, first, second, radius(job.limit, job.side))
    ids = first.strip.ids, second.strip.ids
    thumbs = job.run_dir.once(f"thumbnails of {xp.__name__}", partial(KeptThumbs, job, xp))
    of_squares: list[Step] = [*block_filters(job, partial(_firsts, tile)), ("box", partial(_near_boxes, tile))]
    of_pairs: list[Step] = [
        ("product", partial(_near_points, tile)),
        *aspect_filter(job, *ids),
        ("cosines", partial(_near_by_cosines, tile)),
    ]
    squares = through(of_squares, _all_squares(tile), tally)
    start, at_once = 0, _squares_a_call(tile, squares, xp)
    while start < len(squares.rows):
        counted = Counter[str]()
        try:
            pairs = through(of_pairs, squares.only(slice(start, start + at_once)), counted)
            matches = least(job, *ids, pairs, thumbs.sse(ids[0][pairs.x], ids[1][pairs.y], pairs.turn))
        except MemoryError:
            if at_once == 1:
                raise
        else:
            writer.add(*matches)
            tally.update(counted, exact=pairs.count)
            start += at_once
            continue
        at_once = -(-at_once // 2)
        give_back_memory(xp)  # here, as what the call held is free only when its error is gone


@cache
def _opened(name: str) -> Any:
    xp = named_module(name)
    check(xp)
    return xp


def _squares_a_call(tile: _Tile, squares: _Squares, xp: Any) -> int:
    """As many as make a call: of a GPU 2^28 pairs, if its memory has the room."""
    pairs = min(_PAIRS_A_CALL, free_bytes(xp) // _BYTES_A_PAIR)
    turns = max(1.0, squares.near.sum() / max(1, len(squares.rows)))
    return max(1, int(pairs / (tile.first.side**2 * turns)))


def _all_squares(tile: _Tile) -> _Squares:
    m, n = (np.diff(strip.strip.starts) for strip in (tile.first, tile.second))
    pairs = np.outer(m, n)
    if tile.first is tile.second:  # each pair once
        pairs = np.triu(pairs, 1) + np.diag(m * (m - 1) // 2)
    rows, columns = np.nonzero(pairs)
    pairs = pairs[rows, columns]
    return _Squares(rows, columns, pairs, np.ones((len(tile.job.orientations), len(rows)), bool))


def _firsts(tile: _Tile, squares: _Squares) -> tuple[Ints, Ints]:
    """An image of each block of the first strip, and of each of the second: ids (k,) each."""
    first, second = tile.first.strip, tile.second.strip
    return first.ids[first.starts[squares.rows]], second.ids[second.starts[squares.columns]]


def _near_boxes(tile: _Tile, squares: _Squares) -> _Squares:
    """Those whose boxes are within the radius, and under which orientations."""
    low, high = tile.first.lows[0, :, None, :], tile.first.highs[0, :, None, :]
    xp, near = array_module(low), []
    for turn in range(len(tile.job.orientations)):
        gap = xp.maximum(low - tile.second.highs[turn, None, :, :], tile.second.lows[turn, None, :, :] - high)
        gap = xp.maximum(gap, xp.zeros_like(gap))
        gaps = on_host(xp.sum(gap * gap, axis=2))
        near.append(gaps[squares.rows, squares.columns] <= near_limit(tile.within, gap.shape[2]))
    left = _Squares(squares.rows, squares.columns, squares.pairs, np.stack(near) & squares.near)
    return left.only(np.any(left.near, axis=0))


def _near_points(tile: _Tile, squares: _Squares) -> Pairs:
    """The pairs whose product of the first cosines is within the radius; their `turn` is that of canonical forms."""
    turns_begin = tile.second.lows.shape[1]
    turn, square = np.nonzero(squares.near)
    rows, columns = squares.rows[square], squares.columns[square]
    xp = array_module(tile.first.left)
    rows, turn, blocks = (xp.asarray(some) for some in (rows, turn, columns + turn * turns_begin))
    square, x, y = near(tile.first.left, tile.second.right, rows, blocks)
    x = x + xp.take(xp.take(tile.first.starts, rows), square)
    y = xp.take(tile.second.rows, y + xp.take(xp.take(tile.second.starts, blocks), square))
    pairs = Pairs(x, y, xp.take(turn, square))
    return pairs.only(x < y) if tile.first is tile.second else pairs


def _near_by_cosines(tile: _Tile, pairs: Pairs) -> Pairs:
    """Those that all cosines leave within the radius, as in tile.py; their `turn` is that of the pictures as found."""
    first, second, size = tile.first, tile.second, pairs.x.shape[0]
    xp, near = array_module(first.cosines), [pairs.x[:0] == 0]
    limit, images = near_limit(tile.within, prefixes(tile.job.side)[-1]), len(second.strip.ids)
    for start in range(0, size, _COSINES_AT_ONCE):
        part = slice(start, min(size, start + _COSINES_AT_ONCE))
        places = pairs.x[part], pairs.y[part] + pairs.turn[part] * images
        x, y = (xp.take(some.cosines, at, axis=0) for some, at in zip((first, second), places, strict=True))
        difference = xp.astype(x, xp.float32) - xp.astype(y, xp.float32)
        difference *= difference
        near.append(xp.sum(difference, axis=1) <= limit)
    left = pairs.only(xp.concat(near))
    x, y, turn = (on_host(some) for some in (left.x, left.y, left.turn))
    return Pairs(x, y, as_found(tile.job.orientations)[first.strip.home[x], turn, second.strip.home[y]])
