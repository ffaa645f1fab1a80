"""Consecutive sorted images with their summaries, as sorted.zarr has them: a strip, or as much as memory holds."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.arrays import Bools, Float32s, Ints
from dupegrid.core.loops import HEADS
from dupegrid.images.levels import COSINES, Checks, Cosines, prefixes, turned_cosines
from dupegrid.pairs.bounds import boxes, near_limit, radius, squared_gaps, strips
from dupegrid.pairs.canonical import needed
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import right_operand
from dupegrid.pairs.sort import ORDER, Order

_BYTES_PER_TURN: Final = 250  # of an image under one orientation: its first cosines, and what is made of them
_BYTES_PER_IMAGE: Final = 500  # its cosines, ids and the like
_OF_A_TASK: Final = 4  # such pieces take the memory of a task: two that it compares, and room for what comes of them
_KEPT: Final = 3  # pieces, at least
_KEPT_BYTES: Final = 300_000_000  # at most, where half of the orientations are needed (decisions/0028)


@dataclass(frozen=True)
class Turned:
    """Those images of a strip that one orientation is needed of, as it has them."""

    rows: Ints  # of the strip, ascending
    starts: Ints  # of its blocks among them, and the end
    first: Cosines  # of these rows, turned
    lows: Float32s  # of the boxes of the blocks
    highs: Float32s

    @cached_property
    def operand(self) -> Float32s:
        """Of the products of the first cosines, on the cores."""
        operand: Float32s = right_operand(self.first.astype(np.float32))
        return operand

    @cached_property
    def heads(self) -> Float32s:
        """The first cosines of all rows, which hold most of a distance: float32 (8 or K, n)."""
        return np.ascontiguousarray(self.first[:, :HEADS].T, np.float32)


@dataclass(frozen=True)
class Strip:
    """Consecutive sorted images in their canonical form; in `turned` what orientations are needed of them."""

    ids: Ints
    home: Ints  # the orientation under which an image is canonical, by its place in those of the job
    sums: Checks  # of their thumbnails, by which those that are read alone are checked
    starts: Ints  # of the blocks, and the end
    cosines: Cosines
    turned: list[Turned]


def read_piece(job: Job, rows: slice) -> Strip:
    """Whole blocks from sorted.zarr, by their images; the last few pieces are kept, as neighbouring tasks share them.

    Reading one of 15,360 images takes 8 ms, and each is needed for many tiles.
    """
    needed_bytes = _BYTES_PER_TURN * (1 + len(job.orientations)) // 2 + _BYTES_PER_IMAGE
    size = max(1, (rows.stop - rows.start) * needed_bytes)
    keep = max(_KEPT, min(job.room.process_bytes() // 2, _KEPT_BYTES) // size)
    return job.run_dir.once(("strip", (rows.start, rows.stop)), lambda: _read(job, rows), keep)


def pieces(job: Job, number: int) -> list[slice]:
    """A strip as the images of whole blocks, in pieces such as the memory of a task here holds; mostly all in one."""
    bytes_per_image = _BYTES_PER_TURN * len(job.orientations) + _BYTES_PER_IMAGE
    rows, side = job.grid.rows(number), job.room.task_bytes() // _OF_A_TASK // bytes_per_image
    if rows.stop - rows.start <= side:
        return [rows]
    starts = starts_in(job, rows)
    largest = int(np.diff(starts, append=rows.stop).max())  # the last block of a piece must fit as well
    bounds = rows.start + strips(starts - rows.start, rows.stop - rows.start, max(1, side + 1 - largest))
    return [slice(start, stop) for start, stop in pairwise(bounds.tolist())]


def starts_in(job: Job, rows: slice) -> Ints:
    """The places of the blocks that begin among some sorted images, int64 (blocks,)."""
    starts = job.run_dir.once("starts", lambda: np.array(job.run_dir.order().fact("starts"), np.int64))
    return starts[np.searchsorted(starts, rows.start) : np.searchsorted(starts, rows.stop)]


def _read(job: Job, rows: slice) -> Strip:
    store, starts = job.run_dir.order(), np.append(starts_in(job, rows), rows.stop) - rows.start
    facts, cosines = store.rows(ORDER, rows), store.rows(COSINES, rows)
    first, turned = prefixes(job.side)[0], []
    masks = needed(cosines, job.side, job.orientations, radius(job.limit, job.side))
    for name, mask in zip(job.orientations, masks, strict=True):
        some = np.flatnonzero(mask)
        of_blocks, points = np.searchsorted(some, starts), turned_cosines(cosines[some, :first], job.side, name)
        turned.append(Turned(some, of_blocks, points, *boxes(points, of_blocks)))
    ids, home, sums = facts.T.copy()
    return Strip(ids, home, sums.view(np.uint64), starts, cosines, turned)


def apart(job: Job, order: Order) -> Bools:
    """Which pairs of strips have no pair of images within the limit, under any orientation: bool (strips, strips).

    By boxes around the chunks that a strip has images in: such tiles are decided before they are a task. With filters
    there is none, as blocks are left out by these first, and the receipt counts them so.
    """
    rows = [job.grid.rows(number) for number in range(job.grid.strips)]
    out = np.full((len(rows), len(rows)), job.filters.none)
    if not out.any():
        return out
    chunks = [slice(some.start // order.chunk, -(-some.stop // order.chunk)) for some in rows]
    lows = np.array([order.lows[some].min(axis=0) for some in chunks])
    highs = np.array([order.highs[some].max(axis=0) for some in chunks])
    near = near_limit(radius(job.limit, job.side), order.lows.shape[1])
    for name in job.orientations:
        corners = [turned_cosines(some, job.side, name) for some in (lows, highs)]
        turned = np.minimum(*corners), np.maximum(*corners)
        out &= np.array([squared_gaps(low, high, *turned) > near for low, high in zip(lows, highs, strict=True)])
    return out
