"""The last level: what the bounds let through, decided in integers.

Pairs are taken square by square, as like images lie beside like, and as many squares together as memory holds the
thumbnails of: each of these is read once for them, in the order in which they are stored.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.arrays import ORIENTATIONS, Ints, Pixels, turned, values_of
from dupegrid.core.loops import Loops
from dupegrid.images.levels import turned_columns
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import sse_block
from dupegrid.pairs.steps import Pairs
from dupegrid.pairs.strip import Strip

_READ_AT_ONCE_BYTES: Final = 24_000_000  # of thumbnails: malloc uses less than 32 MB again, and does not map it anew
_SQUARE: Final = 512  # images: the sides of what one product decides
_CROWD: Final = 1024  # pairs in a square, for which a product is thought of
_PRODUCT_DECIDES: Final = 8  # pairs, in less time than one is decided alone
_PAIRS_AT_ONCE: Final = 8  # decided alone: what comes of them stays in the cache
_TERMS: Final = 256  # at most, of a float32 sum of squares of bytes


def distances(job: Job, first: Strip, second: Strip, pairs: Pairs) -> Ints:
    """The SSE of pairs of images of two strips, by their x and y: int64 (k,)."""
    thumbs, sse = job.run_dir.thumbs(), np.empty(len(pairs.x), np.int64)
    order, squares = by_square(pairs.x, pairs.y)
    for some in together(squares, _READ_AT_ONCE_BYTES // values_of(job.side)):
        part = order[some[0] : some[-1]]
        ids = np.concatenate([first.ids[pairs.x[part]], second.ids[pairs.y[part]]])
        sums = np.concatenate([first.sums[pairs.x[part]], second.sums[pairs.y[part]]])
        ids, at, places = np.unique(ids, return_index=True, return_inverse=True)
        x, y = np.split(places, 2)
        sse[part] = _sse(job, thumbs.take(ids, sums[at]), x, y, pairs.turn[part], some - some[0])
    return sse


def by_square(x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """An order of pairs, square by square and row by row in each, int64 (k,); starts of the squares in it, and k."""
    across = int(y.max(initial=0)) // _SQUARE + 1
    keys = ((x // _SQUARE * across + y // _SQUARE) * _SQUARE + x % _SQUARE) * _SQUARE + y % _SQUARE
    order = np.argsort(keys)
    starts = np.flatnonzero(np.diff(keys[order] // _SQUARE**2, prepend=-1))
    return order, np.append(starts, len(order))


def together(squares: Ints, images: int) -> Iterator[Ints]:
    """Squares that are decided together, as many as have so many images or one square more: starts, the last one's end.

    A square has at most two images for each of its pairs, and twice 512.
    """
    images_up_to = np.cumsum(np.minimum(2 * np.diff(squares), 2 * _SQUARE)) // max(1, images)
    cuts = [0, *(np.flatnonzero(np.diff(images_up_to)) + 1).tolist(), len(images_up_to)]
    for start, stop in pairwise(cuts):
        if stop > start:
            yield squares[start : stop + 1]


def _sse(job: Job, images: Pixels, x: Ints, y: Ints, turn: Ints, squares: Ints) -> Ints:
    """The SSE of pairs of images by their places, y under an orientation by its place: int64 (k,)."""
    sse = np.full(len(x), -1)
    for crowd in np.flatnonzero(np.diff(squares) >= _CROWD):
        here = slice(squares[crowd], squares[crowd + 1])
        sse[here] = _by_products(images, x[here], y[here], turn[here], job.orientations)
    for number, name in enumerate(job.orientations):
        alone = np.flatnonzero((sse < 0) & (turn == number))
        sse[alone] = _one_by_one(images, x[alone], y[alone], name, job.loops)
    return sse


def _by_products(images: Pixels, x: Ints, y: Ints, turn: Ints, orientations: tuple[str, ...]) -> Ints:
    """The same of a crowd; -1 for pairs under an orientation that so few have that each is decided sooner alone."""
    rows, i = np.unique(x, return_inverse=True)
    columns, j = np.unique(y, return_inverse=True)
    sse, pairs = np.full(len(x), -1), np.bincount(turn, minlength=len(orientations))
    for number in np.flatnonzero(pairs * _PRODUCT_DECIDES >= len(rows) * len(columns)):
        here = np.flatnonzero(turn == number)
        sse[here] = sse_block(images[rows], turned(images[columns], orientations[number]))[i[here], j[here]]
    return sse


def _one_by_one(images: Pixels, x: Ints, y: Ints, orientation: str, loops: Loops | None = None) -> Ints:
    """The SSE of paired images by their places: int64 (k,), exact.

    256 squares of bytes sum to at most 256 * 255^2 < 2^24: float32 holds every such sum, in whatever order it is made.
    """
    flat, out = images.reshape(len(images), -1), np.empty(len(x), np.int64)
    others = flat
    if orientation != ORIENTATIONS[0]:  # each is turned once, and not as a view, which has its bytes in threes
        ids, y = np.unique(y, return_inverse=True)
        others = flat.take(ids, axis=0).take(turned_columns(images.shape[1], orientation), axis=1)
    if loops:
        return loops.squares(flat, others, x, y)
    terms = next(count for count in range(_TERMS, 0, -1) if flat.shape[1] % count == 0)
    for start in range(0, len(x), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        a, b = flat.take(x[part], axis=0), others.take(y[part], axis=0)
        larger = np.maximum(a, b)
        larger -= np.minimum(a, b, out=a)
        difference = larger.astype(np.float32).reshape(len(a), -1, terms)
        out[part] = np.vecdot(difference, difference).sum(axis=1, dtype=np.float64)
    return out
