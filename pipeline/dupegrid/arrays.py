"""The kinds of arrays and numbers that functions here take and give; shapes are said where they are used."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def clamped64(number: int) -> int:
    """A number as the nearest int64: file systems know times that have no nanoseconds in it, from 2262 on."""
    return max(-(1 << 63), min(number, (1 << 63) - 1))
