"""What is told of the taking of a picture, and that broken EXIF harms nothing."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import dupegrid
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from dupegrid.images.xmp import packet_of
from tests.conftest import picture


def with_exif(photo: dict[int, object], place: dict[int, object], format: str = "JPEG") -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0110] = "Model 5"
    exif.get_ifd(0x8769).update(photo)
    exif.get_ifd(0x8825).update(place)
    picture(1).save(file, format, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
def test_the_capture_date_and_the_place_are_read(format: str) -> None:
    data = with_exif({0x9003: "2011:12:13 14:15:16"}, {1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)}, format)
    found = decode(data, Reading(16))
    assert (found.taken_at, found.has_gps) == (datetime(2011, 12, 13, 14, 15, 16), True)
    assert found.latitude == pytest.approx(1 + 2 / 60 + 3 / 3600)
    assert found.longitude == pytest.approx(4 + 5 / 60 + 6 / 3600)
    found = decode(with_exif({0x9004: "2011:12:13 14:15:16"}, {2: (1.0, 2.0, 3.0)}, format), Reading(16))
    assert (found.taken_at, found.has_gps) == (datetime(2011, 12, 13, 14, 15, 16), False)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ({1: "S", 2: (1.5, 0.0, 0.0), 3: "W", 4: (4.0, 30.0, 0.0)}, (-1.5, -4.5)),
        ({1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (4.0, 5.0, 6.0)}, (None, None)),
        ({1: "N", 2: (1.0, 2.0, 3.0)}, (None, None)),
    ],
)
def test_coordinates_are_both_there_or_none_is(place: dict[int, object], found: tuple[float | None, ...]) -> None:
    decoded = decode(with_exif({}, place), Reading(16))
    assert (decoded.latitude, decoded.longitude) == found


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_a_rating_is_read_from_xmp_and_else_from_exif(format: str) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x4746] = 2
    picture(1).save(file, format, exif=exif)
    assert decode(file.getvalue(), Reading(16)).rating == 2
    packet = packet_of({"taken_at": None, "latitude": None, "longitude": None, "rating": 4})
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        picture(1).save(file := io.BytesIO(), format, pnginfo=info)
    elif format == "TIFF":
        picture(1).save(file := io.BytesIO(), format, tiffinfo={700: packet})
    else:
        picture(1).save(file := io.BytesIO(), format, exif=exif, xmp=packet)
    assert decode(file.getvalue(), Reading(16)).rating == 4


@pytest.mark.parametrize(
    "text", ["", "0000:00:00 00:00:00", "1776:07:04 00:00:00", "2011-12-13", "    :  :     :  :  "]
)
def test_a_clock_that_was_never_set_says_nothing(text: str) -> None:
    assert decode(with_exif({0x9003: text}, {}), Reading(16)).taken_at is None


@given(st.binary(max_size=200))
def test_broken_exif_loses_no_picture(data: bytes) -> None:
    file = io.BytesIO()
    picture(1, (32, 24)).save(file, "JPEG", exif=b"Exif\0\0" + data)
    assert decode(file.getvalue(), Reading(16)).status == "ok"


def test_they_stand_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(with_exif({0x9003: "2011:12:13 14:15:16"}, {}))
    (tmp_path / "photos/b.txt").write_bytes(b"no picture")
    rows = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", quiet=True).images.to_pylist()
    assert [row["taken_at"] for row in rows] == [datetime(2011, 12, 13, 14, 15, 16), None]
    assert [row["has_gps"] for row in rows] == [False, None]
