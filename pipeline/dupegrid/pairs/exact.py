"""The last level: what the bounds let through, decided in integers."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Bools, Ints, Pixels, turned
from dupegrid.images.levels import Checks, turned_columns
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import exact_sse, sse_block
from dupegrid.pairs.sort import checks
from dupegrid.storage.arrays import Thumbs

_READ_AT_ONCE_BYTES: Final = 200_000_000  # of thumbnails
_SQUARE: Final = 512  # images: the sides of what one product decides
_CROWD: Final = 1024  # pairs in a square, for which a product is thought of
_PRODUCT_DECIDES: Final = 8  # pairs, in less time than one is decided alone


def crowd_distances(job: Job, first: Ints, second: Ints, x: Ints, y: Ints, turn: Ints) -> tuple[Bools, Ints]:
    """Which of the pairs are so many in a square that a product of it decides them sooner, and the SSE of these.

    A pair is of the images first[x] and second[y], ids, under the orientation job.orientations[turn]: int64 (k,) each
    -> bool (k,) and int64 (as many as are true,).
    """
    crowded, sse = np.zeros(len(x), bool), np.empty(len(x), np.int64)
    thumbs, sums = _thumbs(job)
    for square in _crowded_squares(x, y):
        rows, i = np.unique(x[square], return_inverse=True)
        columns, j = np.unique(y[square], return_inverse=True)
        pairs = np.bincount(turn[square], minlength=len(job.orientations))
        turns = np.flatnonzero(pairs * _PRODUCT_DECIDES >= len(rows) * len(columns))
        if len(turns):
            a, b = (thumbs.take(ids, sums[ids]) for ids in (first[rows], second[columns]))
        for number in turns:
            here = turn[square] == number
            sse[square[here]] = sse_block(a, turned(b, job.orientations[number]))[i[here], j[here]]
            crowded[square[here]] = True
    return crowded, sse[crowded]


def distances(job: Job, x: Ints, y: Ints, turn: Ints) -> Ints:
    """The SSE of pairs of images x and y, ids, one by one, y under job.orientations[turn]: int64 (k,)."""
    thumbs, sums = _thumbs(job)
    sse, at_once = np.empty(len(x), np.int64), _READ_AT_ONCE_BYTES // (2 * job.side * job.side * CHANNELS)
    for number, orientation in enumerate(job.orientations):
        mine = np.flatnonzero(turn == number)
        mine = mine[np.lexsort((y[mine], x[mine]))]
        for start in range(0, len(mine), at_once):
            part = mine[start : start + at_once]
            ids, places = np.unique(np.concatenate([x[part], y[part]]), return_inverse=True)
            sse[part] = _one_by_one(thumbs.take(ids, sums[ids]), places[: len(part)], places[len(part) :], orientation)
    return sse


def _thumbs(job: Job) -> tuple[Thumbs, Checks]:
    return job.run_dir.thumbs(), checks(job.run_dir)


def _crowded_squares(x: Ints, y: Ints) -> Iterator[Ints]:
    """The places of the pairs of each square of the two strips that has many."""
    if len(x) < _CROWD:
        return
    square = x // _SQUARE * (int(y.max()) // _SQUARE + 1) + y // _SQUARE
    order = np.argsort(square, kind="stable")
    starts = np.flatnonzero(np.diff(square[order], prepend=-1))
    stops = np.append(starts[1:], len(order))
    for crowd in np.flatnonzero(stops - starts >= _CROWD):
        yield order[starts[crowd] : stops[crowd]]


def _one_by_one(images: Pixels, x: Ints, y: Ints, orientation: str) -> Ints:
    shape, flat = images.shape[1:], images.reshape(len(images), -1)
    columns = None if orientation == ORIENTATIONS[0] else turned_columns(images.shape[1], orientation)
    out = np.empty(len(x), np.int64)
    for start in range(0, len(x), 16):  # a few at a time stay in the cache
        part = slice(start, start + 16)
        second = flat.take(y[part], axis=0)
        if columns is not None:  # a turned view has its bytes in threes, and takes three times as long
            second = second.take(columns, axis=1)
        out[part] = exact_sse(flat.take(x[part], axis=0).reshape(-1, *shape), second.reshape(-1, *shape))
    return out
