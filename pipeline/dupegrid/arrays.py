"""The kinds of arrays and numbers that functions here take and give; shapes are said where they are used."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def signed64(number: int) -> int:
    """An unsigned 64-bit number (some file systems use all of it for inodes) as the int64 with the same bits."""
    return number - (1 << 64) if number >= 1 << 63 else number
