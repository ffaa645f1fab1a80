"""What a process keeps on its device of a comparison: strips with their summaries, and thumbnails that were needed."""

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, Array, Ints, free_bytes, on_host, turned, values_of
from dupegrid.images.levels import prefixes, turned_cosines
from dupegrid.pairs.bounds import radius, strips
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import exact_sse
from dupegrid.pairs.points import STEP, WIDTH, operands
from dupegrid.pairs.sort import checks
from dupegrid.pairs.strip import Strip, read_piece, starts_in
from dupegrid.storage.arrays import Thumbs

_PAIRS_AT_ONCE: Final = 1 << 13  # whose SSE is reckoned: 0.6 GB of a device
_READ_AT_ONCE: Final = 1 << 9  # thumbnails, by a thread, or somewhat more: whole chunks
_READERS: Final = 8


@dataclass(frozen=True)
class DeviceStrip:
    """A strip on a device. All its blocks are filled up to `side` rows, so that many are multiplied in one call."""

    strip: Strip
    side: int
    rows: Array  # of the strip, of each orientation the ones it is needed of: int64 (rows,)
    starts: Array  # in these, of the blocks under each orientation: int64 (orientations * B,)
    left: Array  # operands of the products, (B, side, 32)
    right: Array  # those of each orientation, (orientations * B, side, 32)
    cosines: Array  # of each orientation: int16 (orientations * images, columns)


def square_side(job: Job, numbers: Iterable[int]) -> int:
    """The rows that the blocks of strips are filled up to."""
    return max(-(-int(_sizes(job, number).max()) // STEP) * STEP for number in numbers)


def fills_squares(job: Job, number: int) -> bool:
    """Whether a strip's blocks, filled up, take at most eight times the memory: not so where most groups are small."""
    sizes = _sizes(job, number)
    return bool(8 * sizes.sum() >= len(sizes) * square_side(job, [number]))


def _sizes(job: Job, number: int) -> Ints:
    rows = job.grid.rows(number)
    return np.diff(starts_in(job, rows), append=rows.stop)


def strip_on_device(job: Job, number: int, xp: Any, side: int) -> DeviceStrip:
    """A strip on the device of an array module; so many of the last are kept as a quarter of its memory holds."""
    turns, count = len(job.orientations), prefixes(job.side)[-1]
    values = (turns + 1) * 2 * WIDTH * 4 + turns * count * 2  # operands, filled up; cosines
    images = max(1, job.grid.rows(number).stop - job.grid.rows(number).start)
    keep = max(3, free_bytes(xp) // 4 // (images * values))
    name = "device strip", (xp.__name__, number, side)
    return job.run_dir.once(name, lambda: _put(job, read_piece(job, job.grid.rows(number)), xp, side), keep)


def _put(job: Job, strip: Strip, xp: Any, side: int) -> DeviceStrip:
    within, k = radius(job.limit, job.side), prefixes(job.side)[0]
    cosines = xp.asarray(strip.cosines)
    all_cosines = [turned_cosines(cosines, job.side, name) for name in job.orientations]
    rows = [xp.asarray(turned.rows) for turned in strip.turned]
    both = [
        operands(xp.take(some[:, :k], mine, axis=0), turned.starts, side, within)
        for some, mine, turned in zip(all_cosines, rows, strip.turned, strict=True)
    ]
    begins = np.cumsum([0, *(len(turned.rows) for turned in strip.turned[:-1])])
    starts = np.concatenate([begin + turned.starts[:-1] for begin, turned in zip(begins, strip.turned, strict=True)])
    right = xp.concat([one for _, one in both])
    return DeviceStrip(strip, side, xp.concat(rows), xp.asarray(starts), both[0][0], right, xp.concat(all_cosines))


class KeptThumbs:
    """Thumbnails on a device, kept since they were first needed, while there is room. For several threads.

    One at a time has what it lacks read, by threads that it starts: the others need much of the same, and where not all
    have room, each would take from the others what they just read.
    """

    def __init__(self, job: Job, xp: Any) -> None:
        self._xp = xp
        self._store: Thumbs = job.run_dir.thumbs()
        self._sums = checks(job.run_dir)
        self._orientations = job.orientations
        row_bytes, images = values_of(job.side), len(self._store)
        self._room = max(2, min(images, free_bytes(xp) // 2 // row_bytes))
        self._rows = xp.empty((self._room, job.side, job.side, CHANNELS), dtype=xp.uint8)
        self._places = np.full(images, -1)  # in these, by id
        self._used = 0
        self._lock = threading.Lock()

    def sse(self, a: Ints, b: Ints, turn: Ints) -> Ints:
        """The SSE of pairs of images a and b, ids, b under the orientation of that place: int64 (k,), in integers."""
        out, at_once = np.empty(len(a), np.int64), min(_PAIRS_AT_ONCE, self._room // 2)
        for number, name in enumerate(self._orientations):
            mine = np.flatnonzero(turn == number)
            for start in range(0, len(mine), at_once):
                part = mine[start : start + at_once]
                x, y = self._pairs(a[part], b[part])
                out[part] = on_host(exact_sse(x, turned(y, name)))
        return out

    def _pairs(self, *ids: Ints) -> list[Array]:
        """The thumbnails of images a and of images b: uint8 (k, S, S, 3) each."""
        with self._lock:
            self._read(np.unique(np.concatenate(ids)))
            return [self._xp.take(self._rows, self._xp.asarray(self._places[some]), axis=0) for some in ids]

    def _read(self, ids: Ints) -> None:
        """Read what is not there of some images, ascending; where there is no room for it, all others go."""
        missing = ids[self._places[ids] < 0]
        if not len(missing):
            return
        if self._used + len(missing) > self._room:
            self._places[:], self._used, missing = -1, 0, ids
        begin, self._used = self._used, self._used + len(missing)  # before it is read, as that may end by an error

        def read(piece: tuple[int, int]) -> None:
            some = missing[slice(*piece)]
            here = slice(begin + piece[0], begin + piece[1])
            self._rows[here, ...] = self._xp.asarray(self._store.take(some, self._sums[some]))
            self._places[some] = np.arange(here.start, here.stop)

        chunks = np.flatnonzero(np.diff(missing // self._store.chunk, prepend=-1))
        with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as pool:
            list(pool.map(read, pairwise(strips(chunks, len(missing), _READ_AT_ONCE).tolist())))
