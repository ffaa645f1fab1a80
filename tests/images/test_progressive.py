"""Progressive JPEGs are decoded from fewer of their scans: never another pixel, never another failure."""

import io
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, JpegImagePlugin

from dupegrid.images import recipe
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.progressive import without_detail
from tests.conftest import LONG, picture

SIDE = 8  # of thumbnails: pictures of 256 px are decoded at an eighth
KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "best": {"subsampling": 0, "quality": 95},
    "worst": {"subsampling": 2, "quality": 30},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 7},
    "rows of restarts": {"subsampling": 0, "restart_marker_rows": 1},
    "EXIF with a JPEG in it": {"exif": b"Exif\0\0\xff\xd8\xff\xc0\0\x11\xff\xda\0\x0c\1\xff\xd9"},
    "colour profile": {"icc_profile": b"\xff\xda\xff\xd9" * 30_000},
    "a comment": {"comment": b"\xff\xd9\xff\xda"},
}


def drawn(size: tuple[int, int] = (301, 267), mode: str = "RGB", seed: int = 0, **options: object) -> bytes:
    """A progressive JPEG of something with detail."""
    noise = np.random.default_rng(seed).normal(0, 25, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(picture(seed, size)) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ImageFile, "MAXBLOCK", pixels.nbytes * 4
        )  # a scan that does not fit into it is an error of Pillow's
        Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **{"progressive": True, "quality": 75} | options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray | str:
    """What Pillow makes of bytes at an eighth of the size, or its complaint."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (image.width // 8, image.height // 8))
            return np.asarray(image)
    except Exception as error:
        return f"{type(error).__name__} {error}"


def plainly(data: bytes, reading: Reading) -> Decoded:
    """What the recipe makes of bytes where nothing is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "without_detail", lambda _data: None)
        return recipe.decode(data, reading)


def check_alike(data: bytes, side: int = SIDE) -> None:
    reading = Reading(side)
    ours, plain = (way(data, reading)._asdict() for way in (recipe.decode, plainly))
    assert np.array_equal(ours.pop("thumb"), plain.pop("thumb"))
    assert ours == plain


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_all_scans(kind: str, mode: str) -> None:
    data = drawn(mode=mode, **KINDS[kind])
    fewer = without_detail(data)
    if mode == "CMYK" and KINDS[kind].get("subsampling") == 2:  # components share their quantizers
        assert fewer is None
    else:
        assert fewer is not None
        assert len(fewer) < len(data)
        assert np.array_equal(pixels_of(data), pixels_of(fewer))
    check_alike(data)


@example((256, 256), "RGB", 0, 97, 1)  # more data than Pillow reckons with
@example((290, 290), "RGB", 0, 100, 1)
@example((256, 290), "L", 0, 100, 0)
@example((257, 263), "RGB", 2, 1, 40)
@given(
    st.tuples(st.integers(256, 290), st.integers(256, 290)),
    st.sampled_from(["RGB", "L"]),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 100),
    st.integers(0, 40),
)
@settings(max_examples=60 if LONG else 12)
def test_pixels_of_any_size_and_quality(
    size: tuple[int, int], mode: str, subsampling: int, quality: int, restarts: int
) -> None:
    data = drawn(size, mode, subsampling=subsampling, quality=quality, restart_marker_blocks=restarts)
    fewer = without_detail(data)
    assert fewer is not None
    assert np.array_equal(pixels_of(data), pixels_of(fewer))


@pytest.mark.parametrize(
    "factors",
    ["11 11 11", "41 11 11", "12 11 11", "22 21 12", "11 22 11", "31 11 21", "42 11 11", "24 12 21", "22 12 11"],
)
def test_pixels_of_other_samplings(factors: str) -> None:
    """The same data under other factors: rubbish to look at, and the same rubbish either way."""
    data = bytearray(drawn(subsampling=0))
    at = data.index(b"\xff\xc2") + 11
    data[at : at + 9 : 3] = bytes.fromhex(factors)
    check_alike(bytes(data))


DATA = drawn((259, 257), subsampling=2)
SCANS = [at for at in range(len(DATA)) if DATA.startswith(b"\xff\xda", at)]


def segments() -> Iterator[tuple[int, int]]:
    """Where each segment of DATA starts and ends, each scan with its data."""
    at = 2
    while DATA[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(DATA[at + 2 : at + 4], "big")
        if DATA[at + 1] == 0xDA:
            end = min(place for mark in (b"\xff\xc4", b"\xff\xda", b"\xff\xd9") if (place := DATA.find(mark, end)) > 0)
        yield at, end
        at = end


def damaged(random: Random) -> bytes:
    """DATA with bytes changed, removed or put in, segments left out, twice or in another order, the end cut off."""
    parts = [DATA[:2], *(DATA[start:end] for start, end in segments()), DATA[-2:]]
    for _ in range(random.choice([0, 0, 1, 2])):
        number = random.randrange(1, len(parts))
        part = parts[number] if random.random() < 0.3 else parts.pop(number)
        if random.random() < 0.6:
            parts.insert(random.randint(1, len(parts)), part)
    changed = bytearray(b"".join(parts))
    heads = [at for at in range(len(changed) - 1) if changed[at] == 0xFF and changed[at + 1] not in (0, 0xFF)]
    for _ in range(random.randint(0, 3)):
        at = random.choice(heads) + random.randint(0, 30) if random.random() < 0.4 else random.randrange(len(changed))
        value = random.choice([b"", b"\xff", b"\xff\xd9", b"\xff\xd3", b"\xff\xff", b"\xff\x01", b"\0", *[None] * 7])
        changed[at : at + random.choice([0, 1, 1, 1, 2])] = random.randbytes(1) if value is None else value
    if random.random() < 0.1:
        del changed[random.randrange(2, len(changed)) :]
    return bytes(changed)


def test_damaged_files_end_the_same() -> None:
    random, taken = Random(0), 0
    for _ in range(5000 if LONG else 200):
        data = damaged(random)
        taken += without_detail(data) is not None
        check_alike(data)
    assert taken > 25  # many are damaged in what libjpeg only warns of


def test_what_is_unusual_goes_the_plain_way() -> None:
    first, last = SCANS[0], SCANS[-1]
    frame = DATA.index(b"\xff\xc2")
    for what, unusual in {
        "baseline": drawn(progressive=False),
        "cut off": DATA[:-2],
        "a scan left out": DATA[:last] + b"\xff\xd9",
        "a scan twice": DATA[:last] + DATA[last:-2] + DATA[last:],
        "fill bytes": DATA[:first] + b"\xff" + DATA[first:],
        "arithmetic coding": DATA[:frame] + b"\xff\xca" + DATA[frame + 2 :],
        "twelve bits": DATA[: frame + 4] + b"\x0c" + DATA[frame + 5 :],
        "no height": DATA[: frame + 5] + b"\0\0" + DATA[frame + 7 :],
        "two frames": DATA[:first] + DATA[frame : frame + 19] + DATA[first:],
        "a reserved marker": DATA[:-2] + b"\xff\x02\xff\xd9",
        "no picture": b"\xff\xd8\xff\xd9",
        "nothing": b"",
    }.items():
        assert without_detail(unusual) is None, what
        check_alike(unusual)


def test_tables_that_are_defined_anew_between_scans() -> None:
    """The data of a scan that is kept stays with its table, whatever became of the others'."""
    assert DATA.count(b"\xff\xc4") > 4
    broken = DATA[: SCANS[1]] + b"\xff\xc4\0\x14\x10\x02" + 15 * b"\0" + b"\x01\x02" + DATA[SCANS[1] :]
    assert without_detail(broken) is None  # a code of ones alone, of which libjpeg makes no table
    check_alike(broken)


def test_what_follows_the_picture_is_no_part_of_it() -> None:
    assert without_detail(DATA + DATA) == without_detail(DATA)
    buffer = io.BytesIO()
    one, two = (Image.open(io.BytesIO(drawn(seed=seed))) for seed in (1, 2))
    one.save(buffer, "MPO", save_all=True, append_images=[two], progressive=True)
    assert recipe.decode(buffer.getvalue(), Reading(SIDE)).frames == 2
    assert without_detail(buffer.getvalue()) is not None
    check_alike(buffer.getvalue())


def test_only_pictures_that_are_decoded_at_an_eighth(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(recipe, "without_detail", lambda data: asked.append(len(data)))
    for size, reading in (
        ((256, 400), Reading(8)),
        ((255, 400), Reading(8)),
        ((256, 400), Reading(9)),
        ((256, 400), Reading(8, exact=True)),
        ((256, 400), Reading(8, whole=True)),
    ):
        assert recipe.decode(drawn(size), reading).status == "ok"
    assert asked == [len(drawn((256, 400)))]


def test_its_bytes_are_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of the file what is hashed, measured and asked for EXIF."""
    exif = Image.Exif()
    exif[0x010F] = "one camera"
    data, other = drawn(seed=4, exif=exif), drawn(seed=5)
    expected = recipe.decode(other, Reading(SIDE))
    monkeypatch.setattr(recipe, "without_detail", lambda _data: other)
    mixed = recipe.decode(data, Reading(SIDE))
    assert np.array_equal(mixed.thumb, expected.thumb)
    assert mixed.file_hash == plainly(data, Reading(SIDE)).file_hash != expected.file_hash
    assert mixed.camera == "one camera"


def test_real_photos(data) -> None:
    for number, photo in enumerate(sorted((data / "large").iterdir())[:: 1 if LONG else 3]):
        with Image.open(photo) as image:
            image.draft(None, (500, 500))  # less to encode; what counts is detail
            buffer = io.BytesIO()
            tables, sampling = image.quantization, JpegImagePlugin.get_sampling(image)
            image.save(buffer, "JPEG", qtables=tables, subsampling=(sampling, 0)[number % 2], progressive=True)
        assert without_detail(buffer.getvalue()) is not None
        check_alike(buffer.getvalue())


def test_a_library_that_reads_beyond_its_end_is_not_told_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 1 << 12)  # in pieces
    check_alike(DATA)
