"""Tones of pixels: what editing changes most taken off a thumbnail; grey of any depth onto 8 bits."""

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Pixels

MIDDLE: Final = 128  # what becomes of the mean of all values
_SPREAD: Final = 40.0  # what becomes of their standard deviation
_MOST_GAIN: Final = 8.0  # a picture of little contrast is mostly noise, and that would be what is compared
_LUMINANCE: Final = np.array([19595, 38470, 7471])  # of 65536: ITU-R BT.601, as Pillow's mode L


def toned(thumb: Pixels, normalize: str, colour: str) -> Pixels:
    """A thumbnail, uint8 (S, S, 3), in grey where `colour` is 'grey', with its tones brought to common ones.

    `normalize` 'mean' shifts all values so that their mean is 128, 'contrast' also stretches them so that their
    standard deviation is 40, by a factor of at most 8; 'none' does neither. What leaves 0 to 255 is cut off there.
    Turning a thumbnail before or after gives the same: what a pixel becomes depends on its value and on sums over all.
    """
    if colour == "grey":
        grey = (thumb.astype(np.int64) @ _LUMINANCE + (1 << 15)) >> 16
        thumb = np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)
    if normalize == "none":
        return thumb
    values = thumb.astype(np.int64)
    total, squares = int(values.sum()), int((values * values).sum())
    mean, gain = total / values.size, 1.0
    if normalize == "contrast":
        spread = math.sqrt(max(0, squares * values.size - total * total)) / values.size
        gain = min(_SPREAD / spread, _MOST_GAIN) if spread else 1.0
    table = np.clip(np.floor((np.arange(256) - mean) * gain + MIDDLE + 0.5), 0, 255).astype(np.uint8)
    result: Pixels = table[thumb]
    return result


def black_and_white(bands: Iterable[npt.NDArray[Any]], of_floats: bool) -> tuple[float, float]:
    """The values that become black and white: 0 and the first usual top that holds all, else the least and the most."""
    low, high = np.inf, -np.inf
    for band in bands:
        values = finite(band)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    usual_tops = (1.0, 255.0, 65535.0) if of_floats else (65535.0,)
    usual = next((top for top in usual_tops if low >= 0 and high <= top), None)
    return (0.0, usual) if usual is not None else (low, high)


def scaled_to_8_bits(values: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """Grey values of any depth from low..high onto 0..255."""
    return np.rint((finite(values) - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)


def finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values as float64, those that are no number as 0."""
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
