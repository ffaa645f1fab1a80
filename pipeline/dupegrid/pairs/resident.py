"""What a process keeps on its device of a comparison: strips with their summaries, and thumbnails that were needed."""

import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, Array, Ints, free_bytes, on_host, turned
from dupegrid.images.levels import prefixes
from dupegrid.pairs.bounds import radius
from dupegrid.pairs.canonical import turned_cosines
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import exact_sse
from dupegrid.pairs.points import STEP, WIDTH, on_device, operands
from dupegrid.pairs.sort import checks
from dupegrid.pairs.strip import Strip, read_strip
from dupegrid.storage.arrays import Thumbs

_PAIRS_AT_ONCE: Final = 1 << 13  # whose SSE is reckoned: 0.6 GB of a device
_READ_AT_ONCE: Final = 1 << 12  # thumbnails


@dataclass(frozen=True)
class DeviceStrip:
    """A strip on a device. All its blocks are filled up to `side` rows, so that many are multiplied in one call."""

    strip: Strip
    side: int
    rows: Array  # of the strip, of each orientation the ones it is needed of: int64 (rows,)
    starts: Array  # in these, of the blocks under each orientation: int64 (orientations * B,)
    left: Array  # operands of the products, (B, side, 32)
    right: Array  # those of each orientation, (orientations * B, side, 32)
    lows: Array  # corners of the boxes, float32 (orientations, B, K)
    highs: Array
    cosines: Array  # of each orientation: int16 (orientations * images, columns)


def square_side(*strips: Strip) -> int:
    """The rows that blocks are filled up to."""
    return max(-(-int(np.diff(strip.starts).max()) // STEP) * STEP for strip in strips)


def fills_squares(strip: Strip) -> bool:
    """Whether its blocks, filled up, take at most eight times the memory: not so where most groups are small."""
    return 8 * len(strip.ids) >= (len(strip.starts) - 1) * square_side(strip)


def strip_on_device(job: Job, number: int, xp: Any, side: int) -> DeviceStrip:
    """A strip on the device of an array module; so many of the last are kept as a quarter of its memory holds."""

    def put() -> DeviceStrip:
        return _put(job, read_strip(job, number), xp, side)

    turns, count = len(job.orientations), prefixes(job.side)[-1]
    values = (turns + 1) * 2 * WIDTH * 4 + turns * count * 2  # operands, filled up; cosines
    images = max(1, job.grid.rows(number).stop - job.grid.rows(number).start)
    keep = max(3, free_bytes(xp) // 4 // (images * values))
    return job.run_dir.once(("device strip", (xp.__name__, number, side)), put, keep)


def _put(job: Job, strip: Strip, xp: Any, side: int) -> DeviceStrip:
    within, k = radius(job.limit, job.side), prefixes(job.side)[0]
    both = [operands(turned.operand[:, :k], turned.starts, side, within) for turned in strip.turned]
    begins = np.cumsum([0, *(len(turned.rows) for turned in strip.turned[:-1])])
    arrays = (
        np.concatenate([turned.rows for turned in strip.turned]),
        np.concatenate([begin + turned.starts[:-1] for begin, turned in zip(begins, strip.turned, strict=True)]),
        np.stack([turned.lows for turned in strip.turned]),
        np.stack([turned.highs for turned in strip.turned]),
        np.concatenate([turned_cosines(strip.cosines, job.side, name) for name in job.orientations]),
    )
    sides = on_device(both[0][0], xp), on_device(np.concatenate([right for _, right in both]), xp)
    rows, starts, *others = map(xp.asarray, arrays)
    return DeviceStrip(strip, side, rows, starts, *sides, *others)


class KeptThumbs:
    """Thumbnails on a device, kept since they were first needed, while there is room. For several threads."""

    def __init__(self, job: Job, xp: Any) -> None:
        self._xp = xp
        self._store: Thumbs = job.run_dir.thumbs()
        self._sums = checks(job.run_dir)
        self._orientations = job.orientations
        row_bytes = job.side * job.side * CHANNELS
        self._room = max(2, min(len(self._store), free_bytes(xp) // 4 // row_bytes))
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        shape = (self._room, self._store.side, self._store.side, CHANNELS)
        self._rows = self._xp.empty(shape, dtype=self._xp.uint8)
        self._places = np.full(len(self._store), -1)
        self._used = 0

    def sse(self, a: Ints, b: Ints, turn: Ints) -> Ints:
        """The SSE of pairs of images a and b, ids, b under the orientation of that place: int64 (k,), in integers."""
        xp, out = self._xp, np.empty(len(a), np.int64)
        at_once = min(_PAIRS_AT_ONCE, self._room // 2)
        for number, name in enumerate(self._orientations):
            mine = np.flatnonzero(turn == number)
            for start in range(0, len(mine), at_once):
                part = mine[start : start + at_once]
                rows, places = self._at(np.concatenate([a[part], b[part]]))
                x, y = (xp.take(rows, xp.asarray(half), axis=0) for half in np.split(places, 2))
                out[part] = on_host(exact_sse(x, turned(y, name)))
        return out

    def _at(self, ids: Ints) -> tuple[Array, Ints]:
        """Rows on the device, and the places of images among them; what is not there yet is read."""
        wanted = np.unique(ids)
        while True:
            with self._lock:
                missing = wanted[self._places[wanted] < 0]
                if not len(missing):
                    return self._rows, self._places[ids]
                if self._used + len(missing) > self._room:
                    self._begin()  # who still reckons with the old rows keeps them
                    missing = wanted
            for start in range(0, len(missing), _READ_AT_ONCE):
                self._add(missing[start : start + _READ_AT_ONCE])

    def _add(self, ids: Ints) -> None:
        thumbs = self._store.take(ids, self._sums[ids])  # without the lock: reading takes most of the time
        with self._lock:
            if self._used + len(ids) <= self._room:
                self._rows[self._used : self._used + len(ids), ...] = self._xp.asarray(thumbs)
                self._places[ids] = np.arange(self._used, self._used + len(ids))
                self._used += len(ids)
