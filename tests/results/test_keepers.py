"""The picture that is kept: the original, whatever was made of it and whatever that is called."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import dupegrid
from dupegrid.storage.words import RULES
from tests.conftest import picture

ORIGINAL = "IMG_1234.jpg"
SIZE = (240, 180)
Make = Callable[[Path], None]
Found = dict[str, tuple[str, str | None]]


def photo(path: Path, camera: bool = False, quality: int = 85, size: tuple[int, int] = SIZE) -> None:
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = "Maker", "Model 5\0"
    picture(3, SIZE).resize(size, Image.Resampling.BICUBIC).save(path, exif=exif, quality=quality)


def shown(folder: Path) -> Image.Image:
    with Image.open(folder / ORIGINAL) as image:
        return image.convert("RGB")


def copy(name: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(folder / ORIGINAL, folder / name)

    return make


def saved(name: str, factor: float = 1, **options: object) -> Make:
    def make(folder: Path) -> None:
        image = shown(folder)
        image.resize((round(image.width * factor), round(image.height * factor))).save(folder / name, **options)

    return make


COPIES = [
    "IMG_1234 (1).jpg",
    "IMG_1234(2).jpg",
    "IMG_1234 copy.jpg",
    "IMG_1234 copy 2.jpg",
    "IMG_1234_copy.jpg",
    "Copy of IMG_1234.jpg",
    "Copy (2) of IMG_1234.jpg",
    "A - Kopie.jpg",
    "A - Kopie (2).jpg",
    "Kopie von IMG_1234.jpg",
    "A - copie.jpg",
    "Copia de IMG_1234.jpg",
    "A - Copia.jpg",
    "A - Cópia.jpg",
    unicodedata.normalize("NFD", "A - Cópia.jpg"),  # as macOS writes it
    "A — копия.jpg",
    "A - コピー.jpg",
    "A - 副本.jpg",
    "A-edited.jpg",
    "A-bearbeitet.jpg",
    "A-編集済み.jpg",
]


OTHERS = [
    *((name, copy(name), False, "name") for name in COPIES),
    ("A.png", saved("A.png"), False, "format"),
    ("A.webp", saved("A.webp", quality=95), False, "format"),
    ("A.jpg", saved("A.jpg", quality=100), True, "older"),
    ("A.jpg", saved("A.jpg", quality=60), False, "bytes"),
    ("A.jpg", saved("A.jpg", factor=0.5, quality=100), False, "pixels"),
    ("A.png", saved("A.png", factor=0.5), False, "pixels"),
    ("A/IMG_1234.jpg", copy("A/IMG_1234.jpg"), False, "shortest"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[bool, int], Found]:
    """What a run says of all of `OTHERS`, of a camera and not, each compared within a folder of its own."""
    folder = tmp_path_factory.mktemp("judged")
    places = {
        (camera, number): folder / f"{camera}{number}" for camera in (False, True) for number in range(len(OTHERS))
    }
    for (camera, number), photos in places.items():
        make_photos(photos, OTHERS[number][1], camera, later=OTHERS[number][2])
    run = dupegrid.run(*places.values(), scope="within", out=folder / "run", quiet=True, scheduler="sync")
    rows = run.clusters.to_pylist()
    return {
        key: found_of([row for row in rows if Path(row["path"]).is_relative_to(photos)], photos)
        for key, photos in places.items()
    }


@pytest.mark.parametrize("camera", [False, True], ids=["bare", "of a camera"])
@pytest.mark.parametrize("number", range(len(OTHERS)), ids=[f"{other[0]} {other[3]}" for other in OTHERS])
def test_the_original_is_kept(judged: dict[tuple[bool, int], Found], number: int, camera: bool) -> None:
    other, _, _, rule = OTHERS[number]
    lost = camera and rule in ("format", "older", "bytes", "pixels")  # what is saved anew here has no EXIF
    assert judged[camera, number] == {
        ORIGINAL: ("keep", None),
        other: ("duplicate", "camera" if lost else rule),
    }


@pytest.mark.parametrize("factor", [1.5, 2])
def test_an_upscaled_picture_is_not_kept_over_that_of_a_camera(tmp_path: Path, factor: float) -> None:
    found = compared(tmp_path, saved("A.jpg", factor=factor, quality=60), camera=True, later=False)
    assert found == {ORIGINAL: ("keep", None), "A.jpg": ("duplicate", "camera")}


def test_the_scan_is_kept_over_the_picture_made_for_the_web(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        shown(folder).save(folder / "scan.tif")
        os.utime(folder / "scan.tif", (1, 1))

    found = compared(tmp_path, make, camera=False, later=False)
    assert found == {"scan.tif": ("keep", None), ORIGINAL: ("duplicate", "older")}


def test_the_archive_is_kept_over_all(tmp_path: Path) -> None:
    for name in ("new", "archive"):
        (tmp_path / name).mkdir()
    photo(tmp_path / "new/a.jpg", camera=True)
    photo(tmp_path / "archive/Copy of a.jpg", quality=60, size=(120, 90))
    run = dupegrid.run(tmp_path / "new", against=tmp_path / "archive", out=tmp_path / "run", quiet=True)
    assert {row["role"]: (Path(row["path"]).name, row["rule"]) for row in run.clusters.to_pylist()} == {
        "keep": ("Copy of a.jpg", None),
        "duplicate": ("a.jpg", "archive"),
    }


def test_the_camera_is_told_and_harms_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "\x1b[31m" + "x" * 500
    picture(4, SIZE).save(photos / "odd.jpg", exif=exif)
    photo(photos / "a.jpg", camera=True)
    photo(photos / "b.jpg")
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    camera = {Path(row["path"]).name: row["camera"] for row in run.images.to_pylist()}
    assert (camera["a.jpg"], camera["b.jpg"]) == ("Maker Model 5", None)
    assert camera["odd.jpg"].startswith("\\x1b[31mxxx")
    assert len(camera["odd.jpg"]) < 100


def test_a_name_that_only_looks_like_a_copys_is_none(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for at, name in enumerate(("photocopy.jpg", "Copyright.jpg", "(1) first.jpg", "credit.jpg", "A (1)/x.jpg")):
        (photos / name).parent.mkdir(exist_ok=True, parents=True)
        photo(photos / name)
        os.utime(photos / name, (at, at + 1))
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    assert set(run.clusters["rule"].to_pylist()) == {None, "older"}


def compared(folder: Path, make: Make, camera: bool, later: bool) -> Found:
    """What is found of the original and of another that was made of it."""
    photos = make_photos(folder / "photos", make, camera, later)
    run = dupegrid.run(photos, out=folder / "run", quiet=True, scheduler="sync")
    return found_of(run.clusters.to_pylist(), photos)


def make_photos(photos: Path, make: Make, camera: bool, later: bool) -> Path:
    """A folder of the original and of another that is made of it."""
    photos.mkdir()
    photo(photos / ORIGINAL, camera)
    make(photos)
    for path in photos.rglob("*.*"):
        is_original = path.name == ORIGINAL and path.parent == photos
        if path.name != "scan.tif":
            os.utime(path, (100 + (later and not is_original),) * 2)
    return photos


def found_of(rows: list[dict[str, Any]], photos: Path) -> Found:
    """The role of each file of a folder and the rule, by its name."""
    assert {row["rule"] for row in rows} <= {None, *RULES}
    return {str(Path(row["path"]).relative_to(photos)): (row["role"], row["rule"]) for row in rows}
