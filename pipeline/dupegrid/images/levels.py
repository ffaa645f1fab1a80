"""The levels of a thumbnail: sums over the cells of symmetric 4 x 4, 8 x 8 and 16 x 16 grids, which turn with it.

pairs/bounds.py says what they bound.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Float32s, Float64s, Ints, Pixels, turned

FIRST_LEVEL: Final = 4
FLAT_MSE: Final = 10.0  # a thumbnail this close to its own mean colour is flat
_LEVELS: Final = (4, 8, 16)

Cells = npt.NDArray[Any]


def levels(side: int) -> tuple[int, ...]:
    """The grids kept of thumbnails of a side: 4, 8 and 16 as far as they are coarser than the thumbnail, at least 4."""
    return tuple(g for g in _LEVELS if g == FIRST_LEVEL or g < side)


def cell_dtype(side: int, g: int) -> npt.DTypeLike:
    """uint16 where the sum of a cell of white fits, else uint32."""
    return np.uint16 if 255 * max(_cell_sizes(side, g)) ** 2 < 1 << 16 else np.uint32


def all_cell_sums(thumbs: Pixels) -> dict[int, Cells]:
    """`cell_sums` of every level of a thumbnail's side: each is the sum of 2 x 2 cells of the next finer one."""
    n, side = thumbs.shape[:2]
    finest, *coarser = reversed(levels(side))
    sums = {finest: cell_sums(thumbs, finest)}
    for g in coarser:
        # An edge k * half // (g / 2) is edge 2 k of the grid with twice the cells.
        quarters = sums[2 * g].reshape(n, g, 2, g, 2, 3)
        wide = quarters[:, :, 0].astype(np.uint32) + quarters[:, :, 1]
        sums[g] = (wide[:, :, :, 0] + wide[:, :, :, 1]).reshape(n, g * g * 3).astype(cell_dtype(side, g))
    return sums


def cell_sums(thumbs: Pixels, g: int) -> Cells:
    """uint8 (n, S, S, 3) -> sums over the cells of a g x g grid, (n, g * g * 3), exact.

    A cell's side is S / g, rounded so that the grid is symmetric; the middle row and column of an odd S are in no cell.
    """
    n, side = thumbs.shape[:2]
    wide = thumbs.reshape(n, side, side * 3)
    rows = np.stack([wide[:, start:stop].sum(axis=1, dtype=np.uint16) for start, stop in _cell_edges(side, g)], axis=1)
    # A column of a row of cells sums to at most 64 * 255; products with 0 and 1 of such are exact in float32.
    columns = np.kron(_membership(side, g), np.eye(3, dtype=np.float32))
    return (rows.astype(np.float32) @ columns).reshape(n, g * g * 3).astype(cell_dtype(side, g))


def turned_columns(g: int, orientation: str) -> Ints:
    """Which columns of cell sums make up those of the turned picture: `cells[:, turned_columns(g, o)]`."""
    columns: Ints = turned(np.arange(g * g * 3).reshape(1, g, g, 3), orientation).ravel()
    return columns


def cell_weights(side: int, g: int) -> Float64s:
    """1 / sqrt(|C|) of each column of the cell sums: (g * g * 3,)."""
    sizes = np.array(_cell_sizes(side, g), np.float64)
    return np.repeat(1 / np.sqrt(np.outer(sizes, sizes)).ravel(), 3)


def is_flat(thumb: Pixels) -> bool:
    """Whether a thumbnail is one colour, or nearly: its MSE to its own mean colour is at most FLAT_MSE."""
    side = len(thumb)
    values = thumb.ravel().astype(np.int32)  # no sum of squares here is 2^31 or more
    sums = thumb.reshape(side, side * 3).sum(axis=0, dtype=np.int32).reshape(side, 3).sum(axis=0).astype(np.float64)
    squares = int(np.dot(values, values)) if side <= 100 else int(np.dot(values.astype(np.int64), values))
    return bool(squares - (sums**2).sum() / side**2 <= FLAT_MSE * values.size)


def _cell_edges(side: int, g: int) -> Sequence[tuple[int, int]]:
    half = side // 2
    cuts = [k * half // (g // 2) for k in range(g // 2 + 1)]
    left = list(pairwise(cuts))
    return left + [(side - stop, side - start) for start, stop in reversed(left)]


def _cell_sizes(side: int, g: int) -> list[int]:
    return [stop - start for start, stop in _cell_edges(side, g)]


def _membership(side: int, g: int) -> Float32s:
    """float32 (side, g): one where a column of pixels is in a column of cells."""
    out = np.zeros((side, g), np.float32)
    for cell, (start, stop) in enumerate(_cell_edges(side, g)):
        out[start:stop, cell] = 1
    return out
