"""Pixels -> the part of them within plain borders: frames, bars above and below a film, margins of a scan."""

from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Pixels

_NEAR: Final = 16  # of 255 in every channel: what saving as JPEG does to a plain colour
_BORDER: Final = 0.98  # a row is part of a border where so large a share of it has the border's colour,
_EDGE: Final = 0.5  # and the picture begins at a row of which so much differs from it at once: a sky has no such edge
_BLURRED: Final = 9  # rows in which saving as JPEG may have mixed the two: its block, and one
_LEAST_LEFT: Final = 0.2  # of a side: otherwise it is no border


def inner_box(pixels: Pixels, factors: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The left, upper, right and lower bound of what plain borders enclose; all of the picture where there are none.

    Of a picture of so many pixels, `size`, whose cells of `factors` pixels, across and down, are `pixels`, (h, w, 3).
    """
    height, width = pixels.shape[:2]
    top, bottom = _ends(pixels)
    left, right = _ends(pixels.swapaxes(0, 1))
    if bottom - top < _LEAST_LEFT * height or right - left < _LEAST_LEFT * width:
        return 0, 0, *size
    return left * factors[0], top * factors[1], min(right * factors[0], size[0]), min(bottom * factors[1], size[1])


def _ends(pixels: Pixels) -> tuple[int, int]:
    return _thickness(pixels), len(pixels) - _thickness(pixels[::-1])


def _thickness(pixels: Pixels) -> int:
    """How many rows at the top are a border: none where no picture begins sharply below them."""
    values: npt.NDArray[np.int16] = pixels.astype(np.int16)
    colour = np.median(values[0], axis=0)
    share = (np.abs(values - colour).max(axis=2) <= _NEAR).mean(axis=1)
    rows = int(np.argmin(share >= _BORDER))  # 0 where all are, too
    for inside in range(rows, min(rows + _BLURRED, len(values)) if rows else 0):
        before = max(inside - 2, rows - 1)  # the row between the two may be a mixture of both
        if (np.abs(values[inside] - values[before]).max(axis=1) > _NEAR).mean() >= _EDGE:
            return inside
    return 0
