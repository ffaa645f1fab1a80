"""The kinds of arrays that functions here take and give, on numpy or cupy; the eight orientations of a picture.

Shapes are said where they are used.
"""

import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.errors import UsageError

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Array = Any  # numpy.ndarray or cupy.ndarray

CHANNELS: Final = 3  # of a thumbnail: red, green, blue
ORIENTATIONS: Final = (
    "identity",
    "rot90",
    "rot180",
    "rot270",
    "flip",
    "flip_rot90",
    "flip_rot180",
    "flip_rot270",
)
CHOICES: Final = {"none": ORIENTATIONS[:1], "rotations": ORIENTATIONS[:4], "all": ORIENTATIONS}


def clamped64(number: int) -> int:
    """A number as the nearest int64: file systems know times that have no nanoseconds in it, from 2262 on."""
    return max(-(1 << 63), min(number, (1 << 63) - 1))


def turned(thumbs: Array, orientation: str) -> Array:
    """What an orientation does to images: arrays of shape (n, S, S, 3) -> the same shape, a view.

    rotN turns counter-clockwise by N degrees; flip mirrors left-right; flip_rotN mirrors first and then turns.
    """
    if orientation.startswith("flip"):
        thumbs = thumbs[:, :, ::-1]
    quarter_turns = {"90": 1, "80": 2, "70": 3}.get(orientation[-2:], 0)
    return thumbs if quarter_turns == 0 else array_module(thumbs).rot90(thumbs, quarter_turns, (1, 2))


def inverse(orientation: str) -> str:
    """The orientation that undoes another: mirrored ones undo themselves."""
    return {"rot90": "rot270", "rot270": "rot90"}.get(orientation, orientation)


def array_module(array: Array) -> Any:
    """The array module an array comes from.

    UsageError where cupy is told to round float32 products to 10 bits, by which pairs would be missed.
    """
    if isinstance(array, np.ndarray):
        return np
    if os.environ.get("CUPY_TF32", "0") != "0":
        raise UsageError("CUPY_TF32 is set, and with its rounding pairs would be missed: unset it")
    import cupy

    return cupy.get_array_module(array)
