"""Thumbnails without what editing changes."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import dupegrid
from dupegrid.core.arrays import CHOICES, Pixels, turned
from dupegrid.core.errors import RunDirError
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from dupegrid.images.tones import toned


def drawn(seed: int, height: int, width: int, low: int = 0, high: int = 256) -> Pixels:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3)).astype(np.uint8)


def smooth(seed: int, side: int = 300) -> Image.Image:
    return Image.fromarray(drawn(seed, 8, 8, 60, 200)).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)


@given(st.integers(0, 999), st.integers(0, 200), st.integers(2, 56), st.sampled_from(["none", "mean", "contrast"]))
def test_turning_before_and_after_is_the_same(seed: int, low: int, spread: int, normalize: str) -> None:
    thumb = drawn(seed, 8, 8, low, low + spread)
    for colour in ("rgb", "grey"):
        for name in CHOICES["all"]:
            before = toned(turned(thumb[None], name)[0], normalize, colour)
            assert (before == turned(toned(thumb, normalize, colour)[None], name)[0]).all()


@given(st.integers(0, 999), st.integers(60, 150), st.integers(20, 45))
def test_mean_and_contrast_are_brought_to_common_ones(seed: int, low: int, spread: int) -> None:
    thumb = drawn(seed, 16, 16, low, low + spread)
    shifted = toned(thumb, "mean", "rgb").astype(int) - thumb
    assert shifted.min() == shifted.max() == np.floor(128.5 - thumb.mean())
    stretched = toned(thumb, "contrast", "rgb")
    assert abs(stretched.mean() - 128) < 1
    assert abs(stretched.std() - 40) < 1


def test_grey_is_that_of_pillow() -> None:
    thumb = drawn(1, 64, 64)
    assert (toned(thumb, "none", "grey")[..., 1] == np.asarray(Image.fromarray(thumb).convert("L"))).all()


def test_a_flat_picture_is_left_alone() -> None:
    thumb = drawn(1, 64, 64, 100, 104)
    file = io.BytesIO()
    Image.fromarray(thumb).save(file, "PNG")
    found = decode(file.getvalue(), Reading(64, normalize="contrast", colour="grey"))
    assert found.flat
    assert found.thumb is not None
    assert (found.thumb == thumb).all()


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, and of each a copy in grey, a darker one and one with a border."""
    folder = tmp_path_factory.mktemp("edited")
    for k in range(12):
        image = smooth(k)
        image.save(folder / f"{k:02d}.png")
        image.convert("L").save(folder / f"{k:02d}-grey.png")
        image.point([round(255 * (v / 255) ** 1.4) for v in range(256)] * 3).save(folder / f"{k:02d}-dark.jpg")
        ImageOps.expand(image, 20, (255, 255, 255)).save(folder / f"{k:02d}-border.jpg", quality=90)
    return folder


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, set()),
        ({"normalize": "contrast"}, {"dark"}),
        ({"normalize": "contrast", "colour": "grey", "trim": True}, {"dark", "grey", "border"}),
    ],
    ids=["as-it-is", "contrast", "all"],
)
def test_edits_are_found_by_what_leaves_them_out(
    tmp_path: Path, edited: Path, settings: dict[str, object], found: set[str]
) -> None:
    run = dupegrid.run(edited, out=tmp_path / "run", quiet=True, threshold=50, scheduler="sync", **settings)
    pairs = {
        (Path(row["path_a"]).stem, Path(row["path_b"]).stem.partition("-"))
        for row in run.matches.to_pylist()
        if Path(row["path_a"]).stem.isdecimal()
    } | {
        (Path(row["path_b"]).stem, Path(row["path_a"]).stem.partition("-"))
        for row in run.matches.to_pylist()
        if Path(row["path_b"]).stem.isdecimal()
    }
    assert pairs == {(f"{k:02d}", (f"{k:02d}", "-", edit)) for k in range(12) for edit in found}


def test_other_tones_are_another_run(tmp_path: Path, edited: Path) -> None:
    run = dupegrid.run(edited, out=tmp_path / "run", quiet=True, scheduler="sync", normalize="mean")
    assert dupegrid.open_run(run.path).config.normalize == "mean"
    assert run.explain(0, 1).thumbnails == "64 x 64, mean made alike"
    with pytest.raises(RunDirError, match="thumbnails with normalize = mean, asked for is none"):
        dupegrid.run(edited, out=tmp_path / "run", quiet=True)
