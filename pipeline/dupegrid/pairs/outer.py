"""Tiles that the outer boxes of their strips decide: all pairs of two strips that are apart, before they are a task."""

import numpy as np

from dupegrid.core.arrays import Bools, Float32s
from dupegrid.images.levels import turned_cosines
from dupegrid.pairs.bounds import near_limit, radius, squared_gaps
from dupegrid.pairs.job import Job
from dupegrid.pairs.sort import Order


def apart(job: Job, order: Order) -> Bools:
    """Which pairs of strips have no pair of images within the limit, under any orientation: bool (strips, strips).

    With filters no pair of strips is one: blocks are left out by these first, and the receipt counts them so.
    """
    strips, first = job.grid.strips, order.lows.shape[1]
    out = np.zeros((strips, strips), bool)
    if not job.filters.none:
        return out
    lows, highs = _outer_boxes(job, order)
    near = near_limit(radius(job.limit, job.side), first)
    for i in range(strips):
        out[i] = True
        for name in job.orientations:
            corners = [turned_cosines(some, job.side, name) for some in (lows, highs)]
            out[i] &= squared_gaps(lows[i], highs[i], np.minimum(*corners), np.maximum(*corners)) > near
    return out


def _outer_boxes(job: Job, order: Order) -> tuple[Float32s, Float32s]:
    """The boxes of the chunks that a strip has images in, as one: (strips, K) twice."""
    strips = [job.grid.rows(strip) for strip in range(job.grid.strips)]
    chunks = [slice(rows.start // order.chunk, -(-rows.stop // order.chunk)) for rows in strips]
    lows = np.array([order.lows[some].min(axis=0) for some in chunks])
    return lows, np.array([order.highs[some].max(axis=0) for some in chunks])
