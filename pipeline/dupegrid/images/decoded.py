"""What a decoder is asked and what it answers; travels between the processes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

from dupegrid.core.arrays import Pixels
from dupegrid.core.values import WHOLE

_FLAT_MSE: Final = 10.0  # a thumbnail this close to its own mean colour is flat
_SOME: Final = 13  # one of so many pixels: no factor of a usual side, so that they are not of a few columns


@dataclass(frozen=True)
class Reading:
    """How files are read: thumbnails of `side` pixels, in full or with the shortcuts of the recipe."""

    side: int
    exact: bool = False
    max_pixels: int = 250_000_000  # a picture whose header says more is not decoded
    follow_symlinks: bool = False
    decode_again: bool = False  # what other versions of the decoders decoded too
    whole: bool = False  # all pixels in place of thumbnails
    normalize: str = "none"  # what is taken off the tones of a thumbnail (tones.py)
    colour: str = "rgb"
    trim: bool = False  # plain borders are cut off before
    looks: tuple[str, ...] = (WHOLE,)  # one thumbnail for each


class Decoded(NamedTuple):
    """What is known of one file after opening it; fields as in images.parquet. `thumb` is (S, S, 3), or None.

    `crops` are the thumbnails of all looks but the first, (looks - 1, S, S, 3); `thumb_hash` is of these too.
    `pixels` and `beside` are what whole.py gives, where all pixels were asked for.
    """

    status: str
    error: str | None = None
    thumb: Pixels | None = None
    crops: Pixels | None = None
    thumb_hash: bytes | None = None
    flat: bool | None = None
    transparent: bool | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    exif_orientation: int | None = None
    has_alpha: bool | None = None
    frames: int | None = None
    file_hash: str | None = None
    has_icc: bool | None = None
    camera: str | None = None
    taken_at: datetime | None = None
    has_gps: bool | None = None
    rating: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    pixels: Pixels | None = None
    beside: str | None = None


def share_of(look: str) -> float:
    """How much of each side of a picture a look shows: 0.95 for 'centre95', 1 for 'full'."""
    return 1.0 if look == WHOLE else int(look.removeprefix("centre")) / 100


def is_flat(thumb: Pixels) -> bool:
    """Whether a thumbnail is one colour, or nearly: its MSE to its own mean colour is small."""
    most = _FLAT_MSE * thumb.size
    # Some pixels differ no more from their own mean colour than from that of all, nor does one of their channels; as a
    # rule they differ by too much.
    some = thumb.ravel()[:: 3 * _SOME].astype(np.int64)
    total = int(some.sum())
    if int(np.dot(some, some)) * len(some) - total * total > (most + 1) * len(some):
        return False
    values = thumb.reshape(-1, 3).astype(np.float64)  # whole numbers, whose sums float64 holds exactly
    sums = np.ones(len(values)) @ values
    return float(np.dot(values.ravel(), values.ravel()) - (sums**2).sum() / len(values)) <= most
