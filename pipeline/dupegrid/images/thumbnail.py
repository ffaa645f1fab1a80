"""One file -> one thumbnail, or a reason why not. The only file that decodes pictures.

The recipe decides what counts as the same picture (decisions/0005): JPEG scaled while decoding, but to no less than
four times the thumbnail; cells of pixels averaged down to no less than twice the thumbnail; then BICUBIC onto the
square; orientation applied once; alpha over mid-grey.
"""

import contextlib
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageCms, UnidentifiedImageError

from dupegrid.arrays import Pixels, signed64

RECIPE = 1  # raise it when the same file would give another thumbnail: stored ones are then made again


# Pillow's decoders that neither start another program nor are mere stubs, the usual ones first, as each is asked in
# turn. JPEG opens MPO too.
FORMATS: Final = [
    "JPEG",
    "PNG",
    "GIF",
    "BMP",
    "PPM",
    "WEBP",
    "TIFF",
    "HEIF",
    "AVIF",
    "JPEG2000",
    "BLP",
    "CUR",
    "DCX",
    "DDS",
    "DIB",
    "FLI",
    "FTEX",
    "GBR",
    "ICNS",
    "ICO",
    "IM",
    "MSP",
    "PCD",
    "PCX",
    "PIXAR",
    "PSD",
    "QOI",
    "SGI",
    "SPIDER",
    "SUN",
    "TGA",
    "XBM",
    "XPM",
    "XVTHUMB",
]
EXIF_ORIENTATION: Final = 0x0112
MID_GREY: Final = (128, 128, 128)
FLAT_MSE: Final = 10.0  # a thumbnail this close to its own mean colour is flat

# A larger file is read only when it is a picture: not every video, disk image, ...
_READ_AT_ONCE_BYTES: Final = 1 << 24
_HEAD_BYTES: Final = 1 << 12
_PIXELS_AT_ONCE: Final = 1 << 22  # converted together: bounds the memory of large pictures

pillow_heif.register_heif_opener()

# EXIF orientation -> what to do to the stored pixels so that the picture stands upright.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Reading:
    """How files are read: thumbnails of `side` pixels, in full or with the shortcuts of the recipe."""

    side: int
    exact: bool = False
    max_pixels: int = 250_000_000  # a picture whose header says more is not decoded
    follow_symlinks: bool = False


@dataclass(frozen=True)
class Decoded:
    """What is known of one file after opening it; fields as in images.parquet. `thumb` is (S, S, 3), or None."""

    status: str
    error: str | None = None
    thumb: Pixels | None = None
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


class OpenedFile:
    """A file opened before its turn, so that the system reads ahead; `descriptor` is None where that failed."""

    def __init__(self, path_raw: bytes, follow_symlinks: bool = False) -> None:
        # A pipe or device that took the file's place must neither be waited for nor opened through a link.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
        self.descriptor: int | None = None
        self.error: OSError | None = None
        try:
            self.descriptor = os.open(path_raw, flags)
        except OSError as error:
            self.error = error
            return
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # a pipe
                os.posix_fadvise(self.descriptor, 0, _READ_AT_ONCE_BYTES, os.POSIX_FADV_WILLNEED)


def decode_file(opened: OpenedFile, size_bytes: int, mtime_ns: int, inode: int, reading: Reading) -> Decoded:
    """The thumbnail of one file, (side, side, 3) uint8, or the reason why there is none; closes the file.

    Never raises for what a file holds. `size_bytes`, `mtime_ns` and `inode` are what discover saw: a file that
    differs when opened, or changes while it is read, has status 'changed'. The hash covers what a picture's file
    holds; files that are no picture are not read to the end and have none.
    """
    if opened.descriptor is None:
        if isinstance(opened.error, FileNotFoundError):
            return Decoded("changed", "the file is gone")
        return Decoded("unreadable", str(opened.error and opened.error.strerror))
    seen = (size_bytes, mtime_ns, inode)
    with open(opened.descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened.descriptor).st_mode) or _identity(opened.descriptor) != seen:
            return Decoded("changed", "the file is not the one that was listed")
        try:
            # Decoders get bytes, not the file: libtiff closes descriptors that are not its own.
            data = file.read() if size_bytes <= _READ_AT_ONCE_BYTES or _is_picture(file) else file.read(_HEAD_BYTES)
        except OSError as error:
            return Decoded("unreadable", error.strerror)
        except MemoryError:
            return Decoded("too_large", "the file does not fit the memory for one")
        if _identity(opened.descriptor) != seen:
            return Decoded("changed", "the file changed while it was read")
    return decode(data, reading)


def refuse_larger(pixels: int) -> None:
    """Have Pillow refuse pictures of more pixels, in all of this process, from the header."""
    Image.MAX_IMAGE_PIXELS = pixels
    warnings.simplefilter("ignore")  # remarks on odd files; what matters is in the rows
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(data: bytes, reading: Reading) -> Decoded:
    """The thumbnail of a picture file's bytes, (side, side, 3) uint8, or the reason why there is none. Never raises."""
    if not data:
        return Decoded("empty", "the file has no bytes")
    facts: dict[str, Any] = {}
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            orientation = _exif_orientation(image)
            still_to_turn = 1 if image.format == "TIFF" else orientation  # Pillow turns TIFF itself, size included
            width, height = image.size[::-1] if still_to_turn >= 5 else image.size
            facts = {
                "width": width,
                "height": height,
                "format": image.format,
                "mode": image.mode,
                "exif_orientation": orientation,
                "has_alpha": image.has_transparency_data,
            }
            if width * height > reading.max_pixels:
                return Decoded("too_large", f"{width * height:,} pixels, over --max-pixels", **facts)
            thumb = _thumbnail(image, reading, still_to_turn)
            flat = is_flat(thumb)
            transparent = flat and image.has_transparency_data and _is_transparent(image)
            facts |= {"flat": flat, "transparent": transparent, "frames": _frames(image)}
        facts["file_hash"] = hashlib.blake2b(data, digest_size=16).hexdigest()
        return Decoded("ok", thumb=thumb, thumb_hash=hashlib.blake2b(thumb.tobytes(), digest_size=16).digest(), **facts)
    except Exception as error:  # decoders raise nine kinds of exception on broken files
        status, reason = _failure(error, data)
        return Decoded(status, reason, **facts)


def is_flat(thumb: Pixels) -> bool:
    """Whether a thumbnail is one colour, or nearly: its MSE to its own mean colour is at most FLAT_MSE."""
    side = len(thumb)
    values = thumb.ravel().astype(np.int32)  # no sum of squares here is 2^31 or more
    sums = thumb.reshape(side, side * 3).sum(axis=0, dtype=np.int32).reshape(side, 3).sum(axis=0).astype(np.float64)
    squares = int(np.dot(values, values)) if side <= 100 else int(np.dot(values.astype(np.int64), values))
    return bool(squares - (sums**2).sum() / side**2 <= FLAT_MSE * values.size)


def encode_png(pixels: Pixels) -> bytes:
    """Pixels, uint8 (height, width, 3), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(thumb: Pixels) -> bytes:
    """A thumbnail as a JPEG file, for pages and notebooks."""
    buffer = io.BytesIO()
    Image.fromarray(thumb).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _identity(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, signed64(status.st_ino)


def _is_picture(file: BinaryIO) -> bool:
    """Whether some decoder takes the file for its own; leaves the file at its start."""
    try:
        Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        return False
    except Exception:
        return True  # a picture, if a broken one: decode says what is wrong with it
    finally:
        file.seek(0)
    return True


def _failure(error: Exception, data: bytes) -> tuple[str, str]:
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(data)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return "too_large", message
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return "truncated", message
    return "decode_error", f"{type(error).__name__}: {message}"


def _unidentified(data: bytes) -> tuple[str, str]:
    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF", b"\xd7\xcd\xc6\x9a")):
        return "unsupported", "PostScript, PDF and WMF are never opened, as they start other programs"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc"):
        return "unsupported", "HEIC of a kind that libheif does not read: convert it to JPEG or PNG first"
    return "unidentified", "not a picture in any known format"


def _exif_orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF is no reason to lose the picture
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged later frame is no reason to lose the first
        return 1


def _thumbnail(image: Image.Image, reading: Reading, orientation: int) -> Pixels:
    if not reading.exact:
        image.draft(None, (4 * reading.side, 4 * reading.side))
    image.load()
    squashed = _squashed(image, reading.side, exact=reading.exact)
    if orientation in _UPRIGHT:
        squashed = squashed.transpose(_UPRIGHT[orientation])
    return np.ascontiguousarray(squashed)


def _squashed(image: Image.Image, side: int, exact: bool) -> Image.Image:
    """The picture on a square: what Pillow's resize with reducing_gap 2 gives, a band of rows at a time."""
    to_rgb = _to_rgb(image)
    width, height = image.size
    factors = (1, 1) if exact else (int(width / side / 2) or 1, int(height / side / 2) or 1)
    if factors == (1, 1):
        return to_rgb(image).resize((side, side), Image.Resampling.BICUBIC)
    reduced = Image.new("RGB", (-(-width // factors[0]), -(-height // factors[1])))
    rows = max(1, _PIXELS_AT_ONCE // (width * factors[1])) * factors[1]
    for top in range(0, height, rows):
        band = image if rows >= height else image.crop((0, top, width, min(height, top + rows)))
        reduced.paste(to_rgb(band).reduce(factors), (0, top // factors[1]))
    return reduced.resize((side, side), Image.Resampling.BICUBIC, (0, 0, width / factors[0], height / factors[1]))


def _to_rgb(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of a picture, or of a band of it."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return lambda band: band
    if image.mode == "F" or image.mode.startswith("I"):
        low, top = _range(image)
        return lambda band: Image.fromarray(_scaled_to_8_bits(np.asarray(band), low, top)).convert("RGB")
    if image.has_transparency_data:
        return _composited
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return lambda band: ImageCms.applyTransform(band, transform) or band
    return lambda band: band.convert("RGB")


def _composited(band: Image.Image) -> Image.Image:
    rgba = band.convert("RGBA")
    backdrop = Image.new("RGBA", rgba.size, (*MID_GREY, 255))
    return Image.alpha_composite(backdrop, rgba).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    """Whether every pixel of a picture with transparency has alpha 0."""
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    bands = (image.crop((0, top, image.width, min(image.height, top + rows))) for top in range(0, image.height, rows))
    if image.mode == "F" or image.mode.startswith("I"):  # deep grey, of which one value is transparent
        value = image.info["transparency"]
        return all(band.getextrema() == (value, value) for band in bands)
    return all(band.convert("RGBA").getchannel("A").getextrema() == (0, 0) for band in bands)


def _range(image: Image.Image) -> tuple[float, float]:
    """The values that become black and white: 0 and the first usual top that holds all, else the least and the most."""
    low, high = np.inf, -np.inf
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        band = _finite(np.asarray(image.crop((0, top, image.width, min(image.height, top + rows)))))
        low, high = min(low, float(band.min())), max(high, float(band.max()))
    usual_tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    usual = next((top for top in usual_tops if low >= 0 and high <= top), None)
    return (0.0, usual) if usual is not None else (low, high)


def _scaled_to_8_bits(values: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """Grey values of any depth from low..high onto 0..255."""
    return np.rint((_finite(values) - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
