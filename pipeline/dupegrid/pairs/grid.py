"""Strips of sorted images -> the upper-triangle tiles, and how large a strip may be."""

import math
from dataclasses import dataclass

import numpy as np

from dupegrid.core.arrays import Ints

_STRIPS: int = 4  # aimed at: a few workers are kept busy, and little is done per tile
_NEAR_PAIRS: int = 1 << 22  # of a tile: some seconds
_LEAST, _MOST = 10_240, 1 << 16  # images of a strip: fewer take one core less than 0.1 s, and two cores no less
_MOST_STRIPS: int = 140  # so that tiles, each of which is a file, are some 10,000


@dataclass(frozen=True)
class Grid:
    """The all-to-all matrix, cut into strips of images at `bounds`: strip k is bounds[k] to bounds[k + 1].

    From image `settled_from` on, which is a bound, images were compared with each other before.
    """

    bounds: tuple[int, ...]
    settled_from: int

    @property
    def strips(self) -> int:
        """Tiles along one side of the matrix."""
        return len(self.bounds) - 1

    def rows(self, strip: int) -> slice:
        """The images of a strip."""
        return slice(self.bounds[strip], self.bounds[strip + 1])

    def pairs(self, i: int, j: int) -> int:
        """How many pairs of images tile (i, j) stands for."""
        m, n = (rows.stop - rows.start for rows in (self.rows(i), self.rows(j)))
        return int(m * (m - 1) // 2 if i == j else m * n)

    def tiles(self) -> Ints:
        """The tiles to compare, (i, j) with i <= j, row by row: int64 array of shape (k, 2)."""
        tiles = np.stack(np.triu_indices(self.strips), axis=1).astype(np.int64)
        return tiles[np.array(self.bounds)[tiles[:, 0]] < self.settled_from]


def strip_side(images: int, near_share: float) -> int:
    """The images of a strip: some four strips in all, of 10,240 to 65,536 images; more where there would be over 140.

    Fewer where so large a share of the pairs is near that a tile would be long at refining them. It follows from the
    images alone, so that tiles that are finished stay so whatever machines go on with the others; what a tile holds in
    memory at once is the business of whoever compares it.
    """
    side = max(_LEAST, min(_MOST, -(-images // _STRIPS)))
    if side * side * near_share > _NEAR_PAIRS:
        side = int(math.sqrt(_NEAR_PAIRS / near_share))
    return max(1, side, -(-images // _MOST_STRIPS))
