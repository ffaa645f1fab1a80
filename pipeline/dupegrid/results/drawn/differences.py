"""Where two thumbnails differ: their MSE, how one is turned to lie as the other does, and boxes round what differs."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from dupegrid.core.arrays import CHOICES, Bools, Pixels, turned
from dupegrid.pairs.kernel import exact_sse
from dupegrid.results.components import components

_CELL: Final = 2  # pixels of a thumbnail, a side
_LEAST: Final = 150.0  # the mean squared difference of a cell that differs: noise of JPEG files stays under it
_OVER_ALL: Final = 3.0  # and over that of all cells by this factor: what differs throughout has no box
_MOST: Final = 12

Box = tuple[float, float, float, float]  # left, top, width, height, of the width and the height of the picture


@dataclass(frozen=True)
class Difference:
    """Of two pictures, by their thumbnails."""

    mse: float
    turn: str  # what is done to the second so that it lies as the first does
    boxes: list[Box]  # on the first, the strongest first


def difference(a: Pixels, b: Pixels, orientations: str) -> Difference:
    """How two thumbnails differ, uint8 (S, S, 3), under the best of 'none', 'rotations' or 'all'."""
    sse = {name: int(exact_sse(a[None], turned(b[None], name))[0]) for name in CHOICES[orientations]}
    best = min(sse, key=lambda name: sse[name])
    return Difference(sse[best] / a.size, best, boxes(a, turned(b[None], best)[0]))


def boxes(a: Pixels, b: Pixels) -> list[Box]:
    """Boxes round what differs between two thumbnails of one side S, at most 12; a shift of all colours is none."""
    shift = a.astype(np.float64) - b
    shift -= np.median(shift, axis=(0, 1))
    side = len(a) // _CELL
    if not side:
        return []
    squares = (shift[: side * _CELL, : side * _CELL] ** 2).mean(axis=2)
    cells = squares.reshape(side, _CELL, side, _CELL).mean(axis=(1, 3))
    hot = cells > max(_LEAST, _OVER_ALL * float(cells.mean()))
    found = [(float(cells[y, x].sum()), y, x) for y, x in _patches(hot)]
    found.sort(key=lambda patch: -patch[0])
    return [_box(y, x, side) for _, y, x in found[:_MOST]]


def _box(y: np.ndarray, x: np.ndarray, side: int) -> Box:
    left, top = max(0, int(x.min()) - 1), max(0, int(y.min()) - 1)
    right, bottom = min(side, int(x.max()) + 2), min(side, int(y.max()) + 2)
    return left / side, top / side, (right - left) / side, (bottom - top) / side


def _patches(hot: Bools) -> list[tuple[np.ndarray, np.ndarray]]:
    """The cells of each patch of neighbours, also over corners and one cell between: rows and columns."""
    y, x = np.nonzero(hot)
    number = np.full(np.add(hot.shape, 4), -1)
    number[y + 2, x + 2] = np.arange(len(y))
    near = np.concatenate([number[y + dy, x + dx] for dy in range(5) for dx in range(5)])
    root = components(len(y), np.tile(np.arange(len(y)), 25)[near >= 0], near[near >= 0])
    return [(y[root == first], x[root == first]) for first in np.unique(root)]
