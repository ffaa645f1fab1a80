"""One picture -> the images that are nearest to it, of all, exactly.

All cosines are gone through once; then thumbnails are read, those with the nearest cosines first, until those that are
left are too far to be asked for (Seidl and Kriegel, Optimal multi-step k-nearest neighbor search, SIGMOD 1998).
"""

from typing import Final

import numpy as np

from dupegrid.core.arrays import Bools, Float32s, Ints, Pixels, inverse, turned, values_of
from dupegrid.images.levels import COSINES, cosines, prefixes, row_checks
from dupegrid.pairs.bounds import near_limit, radius, squared_distances
from dupegrid.pairs.kernel import sse_block
from dupegrid.storage.run_dir import RunDir

_ROWS_AT_ONCE: Final = 1 << 14  # of cosines: 20 MB with what is made of them
_FIRST_READ: Final = 32  # thumbnails, then twice as many each time
_READ_AT_ONCE_BYTES: Final = 1 << 24  # of thumbnails


def nearest(
    run_dir: RunDir, looks: Pixels, orientations: tuple[str, ...], wanted: Bools, limit: int, at_least: int
) -> tuple[Ints, Ints, Ints]:
    """The wanted images with an SSE of at most `limit`, or the nearest ones where these are fewer than `at_least`.

    `looks` are the thumbnails of the picture, uint8 (looks, S, S, 3), `run_dir` is by views where these are several,
    `wanted` is bool (n,), by id. Returns ids, SSE, and the place in `orientations` of what is done to the image for it,
    int64 (k,) each, by SSE, then id. Takes 12 bytes a view, and what is found. DamagedError where what is read is.
    """
    count, side = len(looks), looks.shape[1]
    # The picture turned back is as far from an image as the picture from the image turned.
    turns = np.concatenate([np.ascontiguousarray(turned(looks, inverse(name))) for name in orientations])
    distances = _distances(run_dir, turns)
    distances[~np.repeat(wanted, count)] = np.inf
    order = np.argsort(distances, kind="stable")[: int(wanted.sum()) * count]
    views, sse, turn = np.empty((3, 0), np.int64)
    start, size, most = 0, _FIRST_READ, np.inf  # the SSE that what is still to be read may have at most
    while start < len(order) and distances[order[start]] <= near_limit(radius(most, side), prefixes(side)[-1]):
        some = np.sort(order[start : start + size])
        found = sse_block(turns, _thumbs(run_dir, some))
        best = found.argmin(axis=0)
        views = np.append(views, some)
        sse = np.append(sse, found[best, np.arange(len(some))].astype(np.int64))
        turn = np.append(turn, best // count)
        most = max(limit, _least(sse, at_least * count))
        near = sse <= most
        views, sse, turn = views[near], sse[near], turn[near]
        start, size = start + size, min(2 * size, max(1, _READ_AT_ONCE_BYTES // values_of(side)))
    return _of_images(views // count, sse, turn, limit, at_least)


def _least(sse: Ints, count: int) -> float:
    """What so many of some are at or under; infinite where they are fewer."""
    return float(np.partition(sse, count - 1)[count - 1]) if len(sse) >= count else np.inf


def _of_images(ids: Ints, sse: Ints, turn: Ints, limit: int, at_least: int) -> tuple[Ints, Ints, Ints]:
    """Of the views of an image the nearest, the first orientation at a tie; as many as are asked for."""
    order = np.lexsort((turn, sse, ids))
    order = order[np.flatnonzero(np.diff(ids[order], prepend=-1))]
    order = order[np.lexsort((ids[order], sse[order]))]
    order = order[: max(at_least, int(np.count_nonzero(sse[order] <= limit)))]
    return ids[order], sse[order], turn[order]


def _distances(run_dir: RunDir, pictures: Pixels) -> Float32s:
    """How near each view is to the nearest of some pictures, uint8 (k, S, S, 3), by cosines: squares, float32 (n,)."""
    levels, columns = run_dir.levels(), prefixes(pictures.shape[1])[-1]
    found = np.empty(len(levels), np.float32)
    for start in range(0, len(levels), _ROWS_AT_ONCE):
        rows = levels.rows(COSINES, slice(start, start + _ROWS_AT_ONCE))[:, :columns]
        each = [squared_distances(rows, picture[None]) for picture in cosines(pictures)]
        found[start : start + len(rows)] = np.min(each, axis=0)
    return found


def _thumbs(run_dir: RunDir, views: Ints) -> Pixels:
    checks = row_checks(run_dir.levels().take(COSINES, views))
    pixels: Pixels = run_dir.thumbs().take(views, checks)
    return pixels
