"""An open picture -> all of its pixels, for a look at full resolution, and what these do not say of it.

Two pictures are the same to the pixel where both are equal. Colours are as they are stored, 8 bits a channel: palettes
and grey become RGB, deeper grey is scaled, transparency lies over mid-grey with the alpha beside it (what it hides is
left out), CMYK and LAB are converted, and a colour profile is not applied. What is lost by that goes into the second.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, Pixels

_PIXELS_AT_ONCE: Final = 1 << 22  # converted together: bounds the memory of large pictures
_NO_DEEPER_IN_RGB: Final = ("1", "L", "P", "RGB")  # modes of which RGB of 8 bits says all
# Of these it is known how deep they are; others may have held more than the 8 bits that their decoders give.
_DEPTH_KNOWN: Final = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "QOI", "TGA")


def whole_pixels(image: Any, to_rgb: Callable[[Any], Any]) -> tuple[Pixels, str | None]:
    """All pixels of a picture of Pillow's: uint8 (height, width, 3), or 4 with alpha, where not all of it is opaque.

    And a digest of what else it holds: profile, deeper values, colours that shine through; None where what was decoded
    may have been deeper than 8 bits. `to_rgb` makes RGB of a picture or of a band of it.
    """
    shallow = image.format in _DEPTH_KNOWN and not any(_is_deep(tile) for tile in image.tile)
    image.load()
    width, height = image.size
    with_alpha = bool(image.has_transparency_data) and image.mode[0] not in "IF"
    pixels = np.empty((height, width, CHANNELS + with_alpha), np.uint8)
    deeper = hashlib.blake2b(b"RGBA" if with_alpha else image.mode[:1].encode(), digest_size=16)
    for top, band in bands(image):
        here = pixels[top : top + band.height]
        here[..., :CHANNELS] = np.asarray(to_rgb(band))
        if with_alpha:
            rgba = np.array(band.convert("RGBA"))
            here[..., CHANNELS] = rgba[..., CHANNELS]
            rgba[rgba[..., CHANNELS] == 0] = 0
            deeper.update(rgba.tobytes())
        elif image.mode not in _NO_DEEPER_IN_RGB:
            deeper.update(np.asarray(band).astype("<f8").tobytes())
    says_all = image.mode in _NO_DEEPER_IN_RGB
    if with_alpha:
        says_all = bool(pixels[..., CHANNELS].min() == 255)
        pixels = np.ascontiguousarray(pixels[..., :CHANNELS]) if says_all else pixels
    profile = hashlib.blake2b(image.info.get("icc_profile") or b"", digest_size=16).hexdigest()
    beside = profile if says_all else profile + deeper.hexdigest()
    return pixels, beside if shallow else None


def bands(image: Any, of: int = 1) -> Iterator[tuple[int, Any]]:
    """A picture of Pillow's in bands of so many rows, or a multiple of them: the first row of each, and the band."""
    rows = max(1, _PIXELS_AT_ONCE // (image.width * of)) * of
    for top in range(0, image.height, rows):
        whole = rows >= image.height
        yield top, image if whole else image.crop((0, top, image.width, min(image.height, top + rows)))


def _is_deep(tile: Any) -> bool:
    """Whether a part of a picture is stored with more than 8 bits a channel, of which its decoder gives 8."""
    return tile.codec_name == "ppm" or (";16" in str(tile.args) and "I;16" not in str(tile.args))
