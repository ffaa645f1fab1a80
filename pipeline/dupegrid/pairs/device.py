"""One tile by MSE on a device: the steps of tile.py for many blocks at once, on any array module.

Squares of two blocks whose boxes are near each other are multiplied, a thousand in one call. Of the products only what
is within the limit is gathered; then all cosines and integers decide. What comes back are matches and counts.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import Bools, array_module, free_bytes, give_back_memory, gpus, named_module, on_host
from dupegrid.core.config import Config
from dupegrid.images.levels import prefixes
from dupegrid.pairs.bounds import near_limit, radius, squared_gaps
from dupegrid.pairs.canonical import as_found
from dupegrid.pairs.job import Job
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.points import check, near
from dupegrid.pairs.resident import DeviceStrip, KeptThumbs, square_side, strip_on_device
from dupegrid.pairs.steps import Pairs, Squares, Step, asked_squares, aspect_filter, least, through

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

    @cached_property
    def near(self) -> Bools:
        """Whose boxes are that near: bool (orientations, blocks of the first strip, blocks of the second)."""
        own, limit = self.first.strip.turned[0], near_limit(self.within, self.first.strip.turned[0].lows.shape[1])
        boxes, strip = list(zip(own.lows, own.highs, strict=True)), self.second.strip
        gaps = [[squared_gaps(*box, turned.lows, turned.highs) for box in boxes] for turned in strip.turned]
        return np.array(gaps) <= limit

    def turns(self, squares: Squares) -> Bools:
        """The same of some squares: bool (orientations, k)."""
        return self.near[:, squares.rows, squares.columns]


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
    of_pairs: list[Step] = [
        ("product", partial(_near_points, tile)),
        *aspect_filter(job, *ids),
        ("cosines", partial(_near_by_cosines, tile)),
    ]
    asked = asked_squares(job, first.strip, second.strip, tally)
    squares = through([("box", lambda left: left.only(tile.turns(left).any(axis=0)))], asked, tally)
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


def _squares_a_call(tile: _Tile, squares: Squares, xp: Any) -> int:
    """As many as make a call: of a GPU 2^28 pairs, if its memory has the room."""
    pairs = min(_PAIRS_A_CALL, free_bytes(xp) // _BYTES_A_PAIR)
    turns = max(1.0, tile.turns(squares).sum() / max(1, len(squares.rows)))
    return max(1, int(pairs / (tile.first.side**2 * turns)))


def _near_points(tile: _Tile, squares: Squares) -> Pairs:
    """The pairs whose product of the first cosines is within the radius; their `turn` is that of canonical forms."""
    turn, square = np.nonzero(tile.turns(squares))
    rows, columns = squares.rows[square], squares.columns[square]
    xp = array_module(tile.first.left)
    rows, turn, blocks = (xp.asarray(some) for some in (rows, turn, columns + turn * tile.near.shape[2]))
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
