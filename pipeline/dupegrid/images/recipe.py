"""One file -> one thumbnail, or a reason why not. The only file that decodes pictures.

The recipe decides what counts as the same picture (decisions/0005): JPEG scaled while decoding, but to no less than
four times the thumbnail; cells of pixels averaged down to no less than twice the thumbnail; then BICUBIC onto the
square; orientation applied once; alpha over mid-grey.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import PIL
import pillow_heif
from PIL import AvifImagePlugin, Image, ImageCms, ImageFile, UnidentifiedImageError, features
from PIL.PngImagePlugin import PngInfo

from dupegrid.core.arrays import Ints, Pixels
from dupegrid.images.borders import inner_box
from dupegrid.images.decoded import Decoded, Reading, is_flat, share_of
from dupegrid.images.exif import exif_of, orientation_of, taking_of
from dupegrid.images.formats import FORMATS, FRAMES_KNOWN, unidentified, without_text
from dupegrid.images.frames import INT32_MAX, CountedBytes, frames_of
from dupegrid.images.opening import NotRegularError, OpenedFile, read_from, stamps
from dupegrid.images.progressive import without_detail
from dupegrid.images.tones import black_and_white, scaled_to_8_bits, toned
from dupegrid.images.whole import bands, whole_pixels

DECODERS: Final = f"Pillow {PIL.__version__}, pillow-heif {pillow_heif.__version__}"
RECIPE = 1  # raise it when the same file would give another thumbnail: stored ones are then made again
MID_GREY: Final = (128, 128, 128)
# A larger file is read only when it is a picture: not every video, disk image, ...
_READ_AT_ONCE_BYTES: Final = 1 << 24
_HEAD_BYTES: Final = 1 << 12
_BORDERS_SEEN_IN: Final = 512  # pixels a side, at least, where the picture has as many
_ANOTHER: Final = "the file is not the one that was listed"
_IS_TURBO: Final = features.check_feature("libjpeg_turbo")

pillow_heif.register_heif_opener()

# What to do to the stored pixels so that the picture stands upright, by EXIF orientation; nothing at 1.
_T: Final = Image.Transpose
_TURNS: Final = (_T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)
_UPRIGHT: Final = dict(enumerate((_T.FLIP_LEFT_RIGHT, *_TURNS), start=2))


def decode_file(opened: OpenedFile, size_bytes: int, mtime_ns: int, reading: Reading) -> Decoded:
    """The thumbnail of one file, (side, side, 3) uint8, or the reason why there is none; closes the file.

    Never raises for what a file holds. `size_bytes` and `mtime_ns` (0: says nothing) are what discover saw: a file that
    differs when opened, or changes while it is read, has status 'changed'. The hash covers what a picture's file
    holds; files that are no picture are not read to the end and have none.
    """
    if opened.descriptor is None:
        if isinstance(opened.error, FileNotFoundError | NotRegularError):
            return Decoded("changed", _ANOTHER if isinstance(opened.error, NotRegularError) else "the file is gone")
        return Decoded("unreadable", str(opened.error and opened.error.strerror))
    # No inode: some file systems give another each time. What has another change time by now is found by it next time.
    seen = (size_bytes, mtime_ns)
    if stamps(opened.status, mtime_ns) != seen:
        os.close(opened.descriptor)
        return Decoded("changed", _ANOTHER)
    try:
        # Decoders get bytes, not the file: libtiff closes descriptors that are not its own.
        whole = size_bytes <= _READ_AT_ONCE_BYTES or _is_picture(opened.descriptor)
        data = read_from(opened.descriptor, size_bytes) if whole else os.pread(opened.descriptor, _HEAD_BYTES, 0)
        if stamps(os.fstat(opened.descriptor), mtime_ns) != seen or len(data) > size_bytes > 0:
            return Decoded("changed", "the file changed while it was read")
    except OSError as error:
        return Decoded("unreadable", error.strerror)
    except MemoryError:
        return Decoded("too_large", "the file does not fit the memory for one")
    finally:
        os.close(opened.descriptor)
    return decode(data, reading)


def limit_decoders(pixels: int) -> None:
    """Have decoders refuse pictures of more pixels, from the header, and work in one thread; in all of this process."""
    Image.MAX_IMAGE_PIXELS = pixels
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1
    warnings.simplefilter("ignore")  # remarks on odd files; what matters is in the rows
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(data: bytes, reading: Reading) -> Decoded:
    """The thumbnail of a picture file's bytes, (side, side, 3) uint8, or the reason why there is none. Never raises.

    Where `reading` is for the whole of it, `pixels` and `beside` in its place.

    `frames` is None where counting them takes too long; the thumbnail, of the first, is there all the same.
    """
    if not data:
        return Decoded("empty", "the file has no bytes")
    facts: dict[str, Any] = {}
    try:
        try:
            pixels = _picture(data, reading, facts)
        except ValueError:
            bare = without_text(data)  # Pillow refuses text that unpacks to too much, and the picture with it
            if len(bare) == len(data):
                raise
            pixels = _picture(bare, reading, facts)
            facts["beside"] = None  # its profile is not known
        facts["file_hash"] = hashlib.blake2b(data, digest_size=16).hexdigest()
        if reading.whole:
            return Decoded("ok", pixels=pixels, **facts)
        facts["thumb_hash"] = hashlib.blake2b(pixels.ravel().data, digest_size=16).digest()
        return Decoded("ok", thumb=pixels[0], crops=pixels[1:] if len(pixels) > 1 else None, **facts)
    except Exception as error:  # decoders raise nine kinds of exception on broken files
        status, reason = _failure(error, data)
        return Decoded(status, reason, **facts)


def _picture(data: bytes, reading: Reading, facts: dict[str, Any]) -> Pixels:
    """The thumbnails of a picture, or all of its pixels; what is known of it goes to `facts`, as far as it came."""
    # Frames of these are in their headers; a read through Python takes a tenth of the time of a small picture.
    file = io.BytesIO(data) if data.startswith(FRAMES_KNOWN) else CountedBytes(data)
    with Image.open(file, formats=FORMATS) as image:
        facts |= {"format": image.format, "mode": image.mode}
        if max(image.size) > INT32_MAX:
            raise Image.DecompressionBombError(f"a side of {max(image.size):,} pixels, more than is counted")
        exif = exif_of(image)
        orientation = orientation_of(exif)
        still_to_turn = 1 if image.format == "TIFF" else orientation  # Pillow turns TIFF itself, size included
        width, height = image.size[::-1] if still_to_turn >= 5 else image.size
        facts |= {
            "width": width,
            "height": height,
            "exif_orientation": orientation,
            "has_alpha": image.has_transparency_data,
            "has_icc": bool(image.info.get("icc_profile")),
            **taking_of(exif, image.info.get("xmp")),
        }
        if width * height > reading.max_pixels:
            raise Image.DecompressionBombError(f"{width * height:,} pixels, over --max-pixels")
        if reading.whole:
            pixels, facts["beside"] = whole_pixels(image, _to_rgb(image))
            return _upright(pixels, still_to_turn)
        thumbs = _thumbnails(image, data, reading, still_to_turn)
        flat = is_flat(thumbs[0])
        transparent = flat and image.has_transparency_data and _is_transparent(image)
        facts |= {"flat": flat, "transparent": transparent}
        facts["frames"] = frames_of(image, file)
        tones = reading.normalize, reading.colour
        return thumbs if flat or tones == ("none", "rgb") else np.stack([toned(it, *tones) for it in thumbs])


def encode_png(pixels: Pixels) -> bytes:
    """Pixels, uint8 (height, width, 3), as a PNG file that says it was drawn by dupegrid."""
    buffer, about = io.BytesIO(), PngInfo()
    about.add_text("Software", "dupegrid")
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def encode_jpeg(thumb: Pixels, quality: int = 90) -> bytes:
    """A thumbnail as a JPEG file, for pages and notebooks; under 90 its colours are stored at half the side."""
    buffer = io.BytesIO()
    Image.fromarray(thumb).save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return buffer.getvalue()


def _is_picture(descriptor: int) -> bool:
    """Whether some decoder takes an open file for its own; leaves it at its start."""
    try:
        Image.open(open(descriptor, "rb", buffering=0, closefd=False), formats=FORMATS)  # noqa: SIM115
    except Exception as error:  # a picture, if a broken one: decode says what is wrong with it
        return not isinstance(error, UnidentifiedImageError)
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _failure(error: Exception, data: bytes) -> tuple[str, str]:
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        return unidentified(data)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return "too_large", message
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return "truncated", message
    return "decode_error", f"{type(error).__name__}: {message}"


def _thumbnails(image: ImageFile.ImageFile, data: bytes, reading: Reading, orientation: int) -> Pixels:
    """Of an open picture one for each look, uint8 (looks, S, S, 3); the first is the same whatever others there are."""
    if not reading.exact:
        at_least = 4 * reading.side
        if _IS_TURBO and min(image.size) >= 8 * at_least and image.format in ("JPEG", "MPO"):  # drafted at an eighth
            image.fp = io.BytesIO(without_detail(data) or data)
        image.draft(None, (at_least, at_least))
    image.load()
    looks = _squashed(_trimmed(image) if reading.trim else image, reading)
    thumbs = [_upright(np.ascontiguousarray(look), orientation) for look in looks]
    # A middle that is flat would match whatever is as plain.
    kept = [thumb if k == 0 or not is_flat(thumb) else thumbs[0] for k, thumb in enumerate(thumbs)]
    return np.stack(kept) if len(kept) > 1 else kept[0][None]


def _trimmed(image: Image.Image) -> Image.Image:
    """A loaded picture without its plain borders, which are looked for in a smaller copy."""
    factors = (image.width // _BORDERS_SEEN_IN or 1, image.height // _BORDERS_SEEN_IN or 1)
    box = inner_box(np.asarray(_reduced(image, factors)), factors, image.size)
    return image if box == (0, 0, *image.size) else image.crop(box)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(Image.fromarray(pixels).transpose(turn))


def shrunk(pixels: Pixels, width: int, height: int) -> Pixels:
    """Pixels, uint8 (h, w, 3 or 4), at another size: each is the mean of what it stands for, as BICUBIC weighs it."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def picked(length: int, wanted: int) -> Ints:
    """Which pixels of a line the resize to `wanted` ones without a filter picks: int64 (wanted,)."""
    line = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    places: Ints = np.asarray(line.resize((wanted, 1), Image.Resampling.NEAREST))[0].astype(np.int64)
    return places


def in_colours(pixels: Pixels, colours: Pixels) -> Pixels:
    """Pixels, uint8 (h, w, 3), each in the nearest of some colours, uint8 (k, 3), k from 1 to 256."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([colours, colours[-1:].repeat(256 - len(colours), axis=0)]).tobytes())
    return np.asarray(Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB"))


def _squashed(image: Image.Image, reading: Reading) -> Iterator[Image.Image]:
    """The picture on a square, and its middle by the other looks: Pillow's resize with reducing_gap 2, in bands."""
    width, height = image.size
    factors = (1, 1) if reading.exact else (int(width / reading.side / 2) or 1, int(height / reading.side / 2) or 1)
    reduced, right, lower = _reduced(image, factors), width / factors[0], height / factors[1]
    for off in ((1 - share_of(look)) / 2 for look in reading.looks):
        box = (off * right, off * lower, right - off * right, lower - off * lower)
        yield reduced.resize((reading.side, reading.side), Image.Resampling.BICUBIC, box)


def _reduced(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """The picture in RGB, cells of so many pixels averaged to one, a band of rows at a time."""
    to_rgb = _to_rgb(image)
    if factors == (1, 1):
        return to_rgb(image)
    width, height = image.size
    reduced = Image.new("RGB", (-(-width // factors[0]), -(-height // factors[1])))
    for top, band in bands(image, factors[1]):
        reduced.paste(to_rgb(band).reduce(factors), (0, top // factors[1]))
    return reduced


def _to_rgb(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of a picture, or of a band of it."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return lambda band: band
    if image.mode == "F" or image.mode.startswith("I"):
        low, top = black_and_white((np.asarray(band) for _, band in bands(image)), of_floats=image.mode == "F")
        return lambda band: Image.fromarray(scaled_to_8_bits(np.asarray(band), low, top)).convert("RGB")
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
    if image.mode == "F" or image.mode.startswith("I"):  # deep grey, of which one value is transparent
        value = image.info["transparency"]
        return all(band.getextrema() == (value, value) for _, band in bands(image))
    return all(band.convert("RGBA").getchannel("A").getextrema() == (0, 0) for _, band in bands(image))
