"""Consecutive sorted images with their summaries, as sorted.zarr has them."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Float32s, Ints
from dupegrid.images.levels import SECOND_LEVEL
from dupegrid.pairs.bounds import boxes, heads
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import right_operand
from dupegrid.pairs.sort import ORDER


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
    """A strip from sorted.zarr; the last few are kept, as neighbouring tasks share them."""
    return job.run_dir.once(("strip", number), lambda: _read_strip(job, number), job.strips_kept)


def _read_strip(job: Job, number: int) -> Strip:
    store, rows = job.run_dir.order(), job.grid.rows(number)
    starts = np.array(store.fact("starts"), np.int64)
    inside = starts[(starts >= rows.start) & (starts < rows.stop)]
    ids, second = store.rows(ORDER, rows)[:, 0].copy(), str(SECOND_LEVEL)
    cells = store.rows(second, rows) if second in store else None
    operands = [right_operand(store.rows(name, rows)) for name in job.orientations]
    return Strip(ids, np.append(inside, rows.stop) - rows.start, operands, cells)
