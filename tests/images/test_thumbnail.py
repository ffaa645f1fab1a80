"""One file -> one thumbnail, or the right reason."""

import hashlib
import io
import os
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import dupegrid
from dupegrid.images.opening import OpenedFile, open_listed
from dupegrid.images.recipe import MID_GREY, Decoded, Reading, decode, decode_file, is_flat
from tests.conftest import picture, save

SIDE = 32
READING = Reading(SIDE)
REASONS = {"empty", "unidentified", "unsupported", "truncated", "too_large", "decode_error"}


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def thumb(image: Image.Image, format: str = "PNG", **options: object) -> np.ndarray:
    decoded = decode(encoded(image, format, **options), READING)
    assert decoded.status == "ok", decoded.error
    assert decoded.thumb is not None
    assert decoded.thumb.shape == (SIDE, SIDE, 3)
    assert decoded.thumb.dtype == np.uint8
    return decoded.thumb


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    stored = picture(1, (120, 80))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(stored, "PNG", exif=exif))))
    decoded = decode(encoded(stored, format, exif=exif, **({"quality": 95} if format == "JPEG" else {})), READING)
    assert (decoded.width, decoded.height) == upright.size
    assert decoded.exif_orientation == orientation
    assert decoded.thumb is not None
    assert mse(decoded.thumb, thumb(upright)) < 4


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert mse(thumb(picture(1), "PNG", exif=exif), thumb(picture(1))) == 0


def test_transparency_is_composited_over_grey() -> None:
    """What is under a transparent pixel cannot be seen, and does not count."""
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    versions = []
    for hidden in ("red", "blue"):
        image = Image.new("RGB", (64, 64), hidden)
        image.paste(picture(3, (32, 32)), (16, 16))
        image.putalpha(mask)
        versions.append(thumb(image))
    assert mse(*versions) == 0
    assert tuple(versions[0][0, 0]) == MID_GREY
    assert mse(versions[0], thumb(Image.new("RGB", (64, 64), MID_GREY))) > 100


def test_two_drawings_on_transparency_differ() -> None:
    def drawing(box: tuple[int, int, int, int]) -> Image.Image:
        image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        image.paste((0, 0, 0, 255), box)
        return image

    assert mse(thumb(drawing((4, 4, 30, 60))), thumb(drawing((34, 4, 60, 60)))) > 1000


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "YCbCr", "LAB", "RGBA", "LA", "1"])
def test_modes_look_like_their_rgb_twin(mode: str) -> None:
    source = picture(4, (128, 96))
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", source.size, value) for value in (60 * 255 // 100, 128, 128)])
        source = Image.new("RGB", source.size, (145, 145, 145))
    elif mode == "P":
        image = source.quantize(256)
        source = image.convert("RGB")
    elif mode == "LA":
        image, source = source.convert("L").convert("LA"), source.convert("L").convert("RGB")
    else:
        image = source.convert(mode)
        source = image.convert("RGB")
    assert mse(thumb(image, "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"), thumb(source)) <= 2


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_deep_pictures_are_scaled_not_clipped(dtype: str) -> None:
    grey = np.asarray(picture(5).convert("L"))
    deep = Image.fromarray((grey.astype(np.float64) * 257).astype(dtype))
    assert mse(thumb(deep, "TIFF"), thumb(Image.fromarray(grey).convert("RGB"))) <= 1


def test_float_pictures_from_0_to_1() -> None:
    grey = np.asarray(picture(5).convert("L"))
    unit = Image.fromarray((grey / 255).astype(np.float32))
    assert mse(thumb(unit, "TIFF"), thumb(Image.fromarray(grey).convert("RGB"))) <= 1


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [picture(seed) for seed in (1, 2, 3)]
    decoded = decode(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), READING)
    assert decoded.frames == 3
    assert decoded.thumb is not None
    assert mse(decoded.thumb, thumb(frames[0])) == 0


def reason(data: bytes) -> Decoded:
    decoded = decode(data, READING)
    assert decoded.status in REASONS
    assert decoded.thumb is None
    assert decoded.error
    return decoded


def test_reasons() -> None:
    jpeg = encoded(picture(1, (400, 300)), "JPEG")
    assert reason(b"").status == "empty"
    assert reason(b"hello").status == "unidentified"
    assert reason(jpeg[: len(jpeg) // 2]).status == "truncated"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").status == "unsupported"
    assert reason(b"%PDF-1.7\n").status == "unsupported"
    assert reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").status == "unsupported"


def test_a_header_that_promises_too_many_pixels_is_refused() -> None:
    png = bytearray(encoded(Image.new("1", (8, 8))))
    png[16:24] = (60000).to_bytes(4, "big") * 2
    png[29:33] = __import__("zlib").crc32(png[12:29]).to_bytes(4, "big")
    assert reason(bytes(png)).status == "too_large"


def seen(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def decoded_file(path: Path, listed: tuple[int, int]) -> Decoded:
    return decode_file(OpenedFile(os.fsencode(path)), *listed, READING)


def test_a_file_that_is_not_the_listed_one_has_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", 1)
    listed = seen(path)
    assert decoded_file(path, listed).status == "ok"
    save(path, 2)
    os.utime(path, ns=(1, 1))
    assert decoded_file(path, listed).status == "changed"
    path.unlink()
    assert decoded_file(path, listed).status == "changed"


def test_a_large_file_that_is_no_picture_is_not_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dupegrid.images.recipe._READ_AT_ONCE_BYTES", 1000)
    video = tmp_path / "film.mp4"
    video.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100_000))
    large = save(tmp_path / "large.bmp", 1)
    assert decoded_file(video, seen(video)).status == "unidentified"
    assert decoded_file(large, seen(large)).status == "ok"


def test_open_listed_opens_regular_files_only(tmp_path: Path) -> None:
    """Neither waits for a pipe, nor opens a device, nor follows a link that has taken the place of a file."""
    file = save(tmp_path / "x.png", 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "to-zero").symlink_to("/dev/zero")
    for path in (file, tmp_path / "link"):
        descriptor = open_listed(os.fsencode(path), follow_symlinks=path != file)
        assert os.read(descriptor, 4) == b"\x89PNG"
        os.close(descriptor)
    for path, follow in (("pipe", False), ("link", False), ("to-zero", True), (".", False), ("nowhere", True)):
        with pytest.raises(OSError):  # noqa: PT011
            open_listed(os.fsencode(tmp_path / path), follow)
    assert decoded_file(tmp_path / "pipe", seen(tmp_path / "pipe")).status == "changed"


@pytest.mark.parametrize("format", ["GBR", "QOI", "PNG"])
def test_m5_a_side_that_no_column_holds_is_too_large(tmp_path: Path, format: str) -> None:
    """120 bytes that promise a picture 3e9 pixels wide, where --max-pixels would allow it."""
    header = {
        "GBR": struct.pack(">5I", 38, 2, 3_000_000_000, 1, 4) + b"GIMP" + struct.pack(">I", 10) + bytes(90),
        "QOI": b"qoif" + struct.pack(">IIBB", 3_000_000_000, 1, 3, 0) + bytes(100),
        "PNG": b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 3_000_000_000, 1, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", bytes(10))
        + png_chunk(b"IEND", b""),
    }
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/wide.png").write_bytes(header[format])
    save(tmp_path / "photos/fine.png", 1)
    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", max_pixels=4_000_000_000, quiet=True)
    assert run.images["status"].to_pylist() == ["ok", "too_large"]
    assert run.images["width"].to_pylist() == [96, None]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_frames_that_take_too_long_to_count_cost_no_picture() -> None:
    image = picture(1, (8, 8)).quantize(4)
    gif = encoded(image, "GIF")
    frame = gif[gif.rindex(b",\0\0\0\0") : -1]
    few, many = (decode(gif[:-1] + frame * more + b";", READING) for more in (4, 200_000))
    assert (few.status, few.frames) == ("ok", 5)
    assert (many.status, many.frames) == ("ok", None)
    assert many.thumb is not None
    assert mse(many.thumb, thumb(image.convert("RGB"))) == 0


@pytest.mark.filterwarnings("ignore:IM image format")
def test_a_number_of_frames_that_no_column_holds_costs_no_picture(tmp_path: Path) -> None:
    im = encoded(picture(1, (8, 8)).convert("L"), "IM")
    count = im.index(b"File size (no of images): 1")
    line = b"File size (no of images): 1000000000000\r\n"
    end = im.index(b"\r\n", count) + 2
    (tmp_path / "photos").mkdir()
    header = im[:count] + line + im[end:511].rstrip(b"\0")
    (tmp_path / "photos/a.im").write_bytes(header[:511].ljust(511, b"\0") + im[511:])
    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert run.images["status"].to_pylist() == ["ok"]
    assert run.images["frames"].to_pylist() == [None]


def too_much_text(kind: bytes) -> bytes:
    if kind == b"tEXt":
        return 80 * png_chunk(kind, b"k\0" + bytes(900_000))
    return png_chunk(kind, b"k\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + packed_zeros())


@cache
def packed_zeros() -> bytes:
    return zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("where", ["before the picture", "after it"])
def test_text_that_unpacks_to_too_much_costs_no_picture(kind: bytes, where: str) -> None:
    png = encoded(picture(1))
    at = 33 if where == "before the picture" else len(png) - 12
    data = png[:at] + too_much_text(kind) + png[at:]
    decoded = decode(data, READING)
    assert (decoded.status, decoded.width, decoded.height) == ("ok", 96, 72)
    assert decoded.file_hash == hashlib.blake2b(data, digest_size=16).hexdigest()
    assert decoded.thumb is not None
    assert mse(decoded.thumb, thumb(picture(1))) == 0


def test_flat() -> None:
    assert is_flat(np.full((SIDE, SIDE, 3), 200, np.uint8))
    assert not is_flat(thumb(picture(1)))
