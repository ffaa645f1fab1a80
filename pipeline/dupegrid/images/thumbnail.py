"""One file -> one thumbnail, or a reason why not. The only file that decodes pictures.

The recipe decides what counts as the same picture: JPEG scaled while decoding, but to no less than four times the
thumbnail; then BICUBIC with reducing_gap 2 onto the square; orientation applied once; alpha over mid-grey.
"""

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from dupegrid.arrays import Pixels
from dupegrid.images.discover import signed64

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

_READ_AT_ONCE_BYTES: Final = (
    1 << 24
)  # a larger file is read only when it is a picture: not every video, disk image, ...
_HEAD_BYTES: Final = 1 << 12

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
class Decoded:
    """What is known of one file after opening it; fields as in images.parquet. `thumb` is (S, S, 3), or None."""

    status: str
    error: str | None = None
    thumb: Pixels | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    exif_orientation: int | None = None
    has_alpha: bool | None = None
    frames: int | None = None
    file_hash: str | None = None


def decode_file(path_raw: bytes, size_bytes: int, mtime_ns: int, inode: int, side: int) -> Decoded:
    """The thumbnail of one file, (side, side, 3) uint8, or the reason why there is none.

    Never raises for what a file holds. `size_bytes`, `mtime_ns` and `inode` are what discover saw: a file that
    differs when opened, or changes while it is read, has status 'changed'. The hash covers what a picture's file
    holds; files that are no picture are not read to the end and have none.
    """
    try:
        descriptor = os.open(path_raw, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return Decoded("changed", "the file is gone")
    except OSError as error:
        return Decoded("unreadable", error.strerror)
    seen = (size_bytes, mtime_ns, inode)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or _identity(descriptor) != seen:
            return Decoded("changed", "the file is not the one that was listed")
        try:
            # Decoders get bytes, not the file: libtiff closes descriptors that are not its own.
            data = file.read() if size_bytes <= _READ_AT_ONCE_BYTES or _is_picture(file) else file.read(_HEAD_BYTES)
        except OSError as error:
            return Decoded("unreadable", error.strerror)
        if _identity(descriptor) != seen:
            return Decoded("changed", "the file changed while it was read")
    return decode(data, side)


def decode(data: bytes, side: int) -> Decoded:
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
            thumb = _thumbnail(image, side, still_to_turn)
            facts["frames"] = _frames(image)
        file_hash = hashlib.blake2b(data, digest_size=16).hexdigest()
        return Decoded("ok", thumb=thumb, file_hash=file_hash, **facts)
    except Exception as error:  # decoders raise nine kinds of exception on broken files
        status, reason = _failure(error, data)
        return Decoded(status, reason, **facts)


def is_flat(thumb: Pixels) -> bool:
    """Whether a thumbnail is one colour, or nearly: its MSE to its own mean colour is at most FLAT_MSE."""
    values = thumb.reshape(-1, 3).astype(np.float32)
    variance = np.einsum("kc,kc->c", values, values) / len(values) - values.mean(axis=0) ** 2
    return bool(variance.mean() <= FLAT_MSE)


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
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return "too_large", message
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return "truncated", message
    return "decode_error", f"{type(error).__name__}: {message}"


def _unidentified(data: bytes) -> tuple[str, str]:
    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF", b"\xd7\xcd\xc6\x9a")):
        return "unsupported", "PostScript, PDF and WMF are never opened, as they start other programs"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc"):
        return "unsupported", "HEIC: convert it to JPEG or PNG first"
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


def _thumbnail(image: Image.Image, side: int, orientation: int) -> Pixels:
    image.draft(None, (4 * side, 4 * side))
    image.load()
    squashed = _to_rgb(image).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if orientation in _UPRIGHT:
        squashed = squashed.transpose(_UPRIGHT[orientation])
    return np.asarray(squashed)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        usual_tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        return Image.fromarray(_scaled_to_8_bits(np.asarray(image), usual_tops)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*MID_GREY, 255))
        return Image.alpha_composite(backdrop, rgba).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _scaled_to_8_bits(values: npt.NDArray[Any], usual_tops: tuple[float, ...]) -> Pixels:
    """Grey values of any depth onto 0..255: from 0..top for the first usual top that holds them, else min..max."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    top = next((top for top in usual_tops if low >= 0 and high <= top), None)
    if top is None:
        values, top = values - low, (high - low) or 1.0
    return np.rint(values * (255.0 / top)).astype(np.uint8)
