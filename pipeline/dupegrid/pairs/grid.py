"""N images and a tile side -> the upper-triangle tiles, and the slices they stand for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TILE_BYTES = 1 << 26  # a float32 panel of one tile side stays under 64 MiB


@dataclass(frozen=True)
class Grid:
    """The all-to-all matrix of `images` images, cut into tiles of `side` x `side`; the last may be smaller."""

    images: int
    side: int

    @property
    def strips(self) -> int:
        """Tiles along one side of the matrix."""
        return -(-self.images // self.side)

    def rows(self, strip: int) -> slice:
        """The images of a strip."""
        return slice(strip * self.side, min(self.images, (strip + 1) * self.side))

    def pairs(self, i: int, j: int) -> int:
        """How many pairs of images tile (i, j) stands for."""
        m, n = (rows.stop - rows.start for rows in (self.rows(i), self.rows(j)))
        return int(m * (m - 1) // 2 if i == j else m * n)

    def tiles(self) -> npt.NDArray[np.int64]:
        """The tiles (i, j) with i <= j, row by row: int64 array of shape (strips * (strips + 1) / 2, 2)."""
        return np.stack(np.triu_indices(self.strips), axis=1).astype(np.int64)


def default_side(values_per_thumb: int) -> int:
    """The tile side, a power of two from 16 to 4096, whose float32 panel of that many rows stays under 64 MiB."""
    side = _TILE_BYTES // (4 * values_per_thumb)
    return max(16, min(4096, 1 << (max(1, side).bit_length() - 1)))
