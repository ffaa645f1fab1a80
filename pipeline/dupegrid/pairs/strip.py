"""Consecutive sorted images with their summaries, as sorted.zarr has them: a strip, or as much as memory holds."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Float32s, Ints
from dupegrid.images.levels import SECOND_LEVEL
from dupegrid.pairs.bounds import boxes, heads, strips
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import right_operand
from dupegrid.pairs.sort import ORDER

_BYTES_PER_COMPONENTS: Final = 300  # of an image's projection under one orientation, in both operands and the points
_BYTES_PER_IMAGE: Final = 600  # its second level, ids and the like
_OF_A_TASK: Final = 4  # such pieces take the memory of a task: two that it compares, and room for what comes of them
_KEPT: Final = 3  # pieces, at least
_KEPT_BYTES: Final = 1 << 29


@dataclass
class Strip:
    """Consecutive sorted images and their summaries; one entry an orientation in the lists."""

    ids: Ints
    starts: Ints  # of the blocks, and the end
    operands: list[Float32s]  # of the products
    cells: npt.NDArray[np.generic] | None  # of the second level; none where thumbnails have no finer one
    lows: list[Float32s] = field(init=False)
    highs: list[Float32s] = field(init=False)
    heads: list[Float32s] = field(init=False)

    def __post_init__(self) -> None:
        points = [operand[:, :-2] for operand in self.operands]
        self.heads = [heads(some) for some in points]
        corners = [boxes(some, self.starts[:-1]) for some in points]
        self.lows, self.highs = [low for low, _ in corners], [high for _, high in corners]


def read_strip(job: Job, number: int) -> Strip:
    """A strip from sorted.zarr."""
    return read_piece(job, job.grid.rows(number))


def read_piece(job: Job, rows: slice) -> Strip:
    """Whole blocks from sorted.zarr, by their images; the last few pieces are kept, as neighbouring tasks share them.

    Reading one of 15,360 images takes 8 ms, and each is needed for many tiles.
    """
    size = max(1, (rows.stop - rows.start) * _bytes_per_image(job))
    keep = max(_KEPT, min(job.room.process_bytes() // 2, _KEPT_BYTES) // size)
    return job.run_dir.once(("strip", (rows.start, rows.stop)), lambda: _read(job, rows), keep)


def pieces(job: Job, number: int) -> list[slice]:
    """A strip as the images of whole blocks, in pieces such as the memory of a task here holds; mostly all in one."""
    rows, side = job.grid.rows(number), job.room.task_bytes() // _OF_A_TASK // _bytes_per_image(job)
    if rows.stop - rows.start <= side:
        return [rows]
    starts = _starts(job, rows)
    bounds = rows.start + strips(starts - rows.start, rows.stop - rows.start, max(1, side))
    return [slice(start, stop) for start, stop in pairwise(bounds.tolist())]


def _bytes_per_image(job: Job) -> int:
    return _BYTES_PER_COMPONENTS * len(job.orientations) + _BYTES_PER_IMAGE


def _starts(job: Job, rows: slice) -> Ints:
    """The places of the blocks that begin among some images."""
    starts = job.run_dir.once("starts", lambda: np.array(job.run_dir.order().fact("starts"), np.int64))
    return starts[np.searchsorted(starts, rows.start) : np.searchsorted(starts, rows.stop)]


def _read(job: Job, rows: slice) -> Strip:
    store, starts = job.run_dir.order(), _starts(job, rows)
    ids, second = store.rows(ORDER, rows)[:, 0].copy(), str(SECOND_LEVEL)
    cells = store.rows(second, rows) if second in store else None
    operands = [right_operand(store.rows(name, rows)) for name in job.orientations]
    return Strip(ids, np.append(starts, rows.stop) - rows.start, operands, cells)
