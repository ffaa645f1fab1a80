"""What is told of the taking of a picture, and that broken EXIF harms nothing."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
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
    found = decode(with_exif({0x9004: "2011:12:13 14:15:16"}, {2: (1.0, 2.0, 3.0)}, format), Reading(16))
    assert (found.taken_at, found.has_gps) == (datetime(2011, 12, 13, 14, 15, 16), False)


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
