"""The levels of a thumbnail: sums over the cells of symmetric 4 x 4, 8 x 8 and 16 x 16 grids, which turn with it.

pairs/bounds.py says what they bound. levels.zarr holds two arrays of them: `COARSE`, of which all is read at once, and
`FINE`, of which single rows are.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import CHANNELS, Float32s, Float64s, Ints, Pixels, turned
from dupegrid.storage.chunked import row_sums

FIRST_LEVEL: Final = 4
SECOND_LEVEL: Final = 8
COARSE: Final = "coarse"  # the second level, of which the first is sums; then the checksums of rows read alone
FINE: Final = "fine"  # the third level
_LEVELS: Final = (FIRST_LEVEL, SECOND_LEVEL, 16)
_AT_ONCE: Final = 4096  # images whose cells stay in the cache
_CHECKS: Final = 2  # uint64, of an image: `row_sums` of its thumbnail and of its row of the finest level

Cells = npt.NDArray[Any]
Checks = npt.NDArray[np.uint64]
Shapes = dict[str, tuple[tuple[int, ...], npt.DTypeLike]]  # of arrays, by name, and their dtypes


def levels(side: int) -> tuple[int, ...]:
    """The grids kept of thumbnails of a side: 4, 8 and 16 as far as they are coarser than the thumbnail, at least 4."""
    return tuple(g for g in _LEVELS if g == FIRST_LEVEL or g < side)


def cell_dtype(side: int, g: int) -> npt.DTypeLike:
    """uint16 where the sum of a cell of white fits, else uint32."""
    return np.uint16 if 255 * max(_cell_sizes(side, g)) ** 2 < 1 << 16 else np.uint32


def level_shapes(images: int, side: int) -> Shapes:
    """The arrays of levels.zarr for so many thumbnails of a side."""
    coarse, finest = _kept(side)
    dtype = np.dtype(cell_dtype(side, coarse))
    columns = coarse * coarse * CHANNELS + _CHECKS * 8 // dtype.itemsize
    shapes: Shapes = {COARSE: ((images, columns), dtype)}
    if finest > coarse:
        shapes[FINE] = ((images, finest * finest * CHANNELS), cell_dtype(side, finest))
    return shapes


def bytes_of(shapes: Shapes) -> int:
    """What arrays of these shapes and dtypes take together."""
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())


def stored_levels(thumbs: Pixels) -> dict[str, Cells]:
    """Rows of the arrays of levels.zarr for thumbnails, uint8 (n, S, S, 3)."""
    side = thumbs.shape[1]
    coarse, finest = _kept(side)
    fine = cells = cell_sums(thumbs, finest)
    if finest > coarse:
        cells = _quartered(fine, finest, side)
    checks = np.stack([row_sums(thumbs), row_sums(fine)], axis=1)
    rows = {COARSE: np.concatenate([cells, checks.view(cells.dtype)], axis=1)}
    return rows | ({FINE: fine} if finest > coarse else {})


def second_level(coarse: Cells, side: int) -> Cells | None:
    """The cell sums of the second level in rows of `COARSE`, (n, 192); None where thumbnails have none."""
    return coarse[:, : SECOND_LEVEL**2 * CHANNELS] if SECOND_LEVEL in levels(side) else None


def first_level(coarse: Cells, side: int) -> Cells:
    """The cell sums of the first level, (n, 48), of rows of `COARSE`."""
    second = second_level(coarse, side)
    return coarse[:, : FIRST_LEVEL**2 * CHANNELS] if second is None else _quartered(second, SECOND_LEVEL, side)


def row_checks(coarse: Cells) -> Checks:
    """The checksums in rows of `COARSE`, uint64 (n, 2): of thumbnails, and of rows of the finest level."""
    words = _CHECKS * 8 // coarse.dtype.itemsize
    return np.ascontiguousarray(coarse[:, -words:]).view(np.uint64)


def _kept(side: int) -> tuple[int, int]:
    """The coarser level that is kept of thumbnails of a side, and the finest."""
    finest = levels(side)[-1]
    return min(SECOND_LEVEL, finest), finest


def _quartered(cells: Cells, g: int, side: int) -> Cells:
    """The cell sums of the next coarser level than g: each is the sum of 2 x 2 cells.

    An edge k * half // (g / 4) of that grid is edge 2 k of this.
    """
    half, out = g // 2, np.empty((len(cells), (g // 2) ** 2 * CHANNELS), cell_dtype(side, g // 2))
    for start in range(0, len(cells), _AT_ONCE):
        part = cells[start : start + _AT_ONCE].astype(out.dtype, copy=False).reshape(-1, half, 2, g * CHANNELS)
        quarters = (part[:, :, 0] + part[:, :, 1]).reshape(-1, half, 2, CHANNELS)
        out[start : start + _AT_ONCE] = (quarters[:, :, 0] + quarters[:, :, 1]).reshape(-1, out.shape[1])
    return out


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
