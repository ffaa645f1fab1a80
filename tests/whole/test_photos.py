"""Real photos and what people make of them: who lies with whom, which is kept, and what each copy is."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageEnhance

import dupegrid
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from tests.conftest import ROOT
from tests.whole.test_exact import assert_exact

PHOTOS = sorted((ROOT / "tests/data").glob("*.jpg"))
CAMERA = Image.Exif()
CAMERA[0x010F], CAMERA[0x0110], CAMERA[0x0132] = "Maker", "Model 5", "2021:05:01 12:00:00"
SPACES = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
# name -> how it is made of a photo, how it is saved, what it is to that photo
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], dict[str, Any], str]] = {
    "lossless.png": (lambda photo: photo, {}, "same_pixels"),
    "quality.jpg": (lambda photo: photo, {"quality": 60}, "recompressed"),
    "small.jpg": (
        lambda photo: photo.resize((photo.width * 2 // 3, photo.height * 2 // 3)),
        {"quality": 90},
        "resized",
    ),
    "turned.png": (lambda photo: photo.transpose(Image.Transpose.ROTATE_90), {}, "turned"),
    "brighter.png": (lambda photo: ImageEnhance.Brightness(photo).enhance(1.03), {}, "edited"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    folder = tmp_path_factory.mktemp("photos")
    for file in PHOTOS:
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        original = folder / file.stem / "original.jpg"
        original.parent.mkdir()
        photo.save(original, quality=92, exif=CAMERA)
        with Image.open(original) as opened:
            photo = opened.convert("RGB")
        for name, (make, options, _) in COPIES.items():
            make(photo).save(original.with_name(name), **options)
    return dupegrid.run(folder, out=folder.with_name("run"), relations=True, quiet=True)


def test_matches_of_photos_are_the_oracles(run: dupegrid.Run) -> None:
    assert_exact(run)


def test_each_photo_lies_with_its_copies_and_is_kept(run: dupegrid.Run) -> None:
    found: dict[int, set[str]] = {}
    for row in run.clusters.to_pylist():
        path = Path(row["path"])
        found.setdefault(row["cluster"], set()).add(path.parent.name)
        assert (row["role"] == "keep") == (path.name == "original.jpg"), row
    assert sorted(found.values()) == [{file.stem} for file in PHOTOS]
    assert len(run.clusters) == len(PHOTOS) * (1 + len(COPIES))


def test_each_copy_is_told_for_what_it_is(run: dupegrid.Run) -> None:
    paths = run.images["path"].to_pylist()
    told = {(row["a"], row["b"]): row["relation"] for row in run.relations.to_pylist()}
    of_originals = {}
    for (a, b), relation in told.items():
        one, other = sorted((Path(paths[a]), Path(paths[b])), key=lambda path: path.name != "original.jpg")
        if one.name == "original.jpg":
            of_originals[other.parent.name, other.name] = relation
    known = {name: relation for name, (_, _, relation) in COPIES.items()}
    assert of_originals == {(file.stem, name): known[name] for file in PHOTOS for name in known}


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("RGBA", "PNG"), ("LAB", "TIFF"), ("P", "PNG")]
)
@pytest.mark.parametrize("file", PHOTOS, ids=lambda file: file.stem)
def test_a_photo_in_another_mode_looks_the_same(file: Path, mode: str, format: str) -> None:
    photo, thumb = _as_it_is(file)
    other = _thumb(_in_mode(photo, mode), format)
    assert np.mean((thumb.astype(float) - other) ** 2) <= 4


@cache
def _as_it_is(file: Path) -> tuple[Image.Image, np.ndarray]:
    with Image.open(file) as opened:
        photo = opened.convert("RGB")
    return photo, _thumb(photo, "PNG")


def _thumb(image: Image.Image, format: str) -> np.ndarray:
    image.save(saved := io.BytesIO(), format, quality=95)
    thumb = decode(saved.getvalue(), Reading(64)).thumb
    assert thumb is not None
    return thumb


def _in_mode(photo: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        changed = ImageCms.applyTransform(photo, ImageCms.buildTransform(*SPACES, "RGB", "LAB"))
        assert changed is not None
        return changed
    return photo.quantize(256) if mode == "P" else photo.convert(mode)
