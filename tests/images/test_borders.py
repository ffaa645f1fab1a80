"""Plain borders are found whatever their colour and thickness, and pictures without any stay whole."""

import io
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dupegrid.core.arrays import Pixels
from dupegrid.core.config import Config
from dupegrid.images import borders, index
from dupegrid.images.borders import inner_box

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

colours = st.tuples(*[st.integers(0, 255)] * 3)
WHITE: Colour = (255, 255, 255)


def drawn(seed: int, height: int, width: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(seed: int, width: int, height: int) -> Image.Image:
    """A picture of soft forms, whose colours change along each of its sides."""
    return Image.fromarray(drawn(seed, 8, 8)).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def box_of(image: Image.Image) -> Box:
    return inner_box(np.asarray(image), (1, 1), image.size)


def whole(image: Image.Image) -> Box:
    return 0, 0, *image.size


def framed(image: Image.Image, share: float, colour: Colour) -> tuple[Image.Image, Box]:
    """A picture with a frame of so large a share of its longer side, and where it is within that."""
    thick = round(share * max(image.size))
    return ImageOps.expand(image, thick, colour), (thick, thick, thick + image.width, thick + image.height)


def apart(a: Box, b: Box) -> int:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


# With 20 above and below, half of a column is border: a pixel of the picture that has its colour hides where that ends.
@given(st.tuples(*[st.integers(0, 18)] * 4), st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 99))
def test_what_a_border_encloses_is_found(
    widths: tuple[int, int, int, int], colour: tuple[int, int, int], seed: int
) -> None:
    picture = Image.fromarray(drawn(seed, 40, 60))
    left, top = widths[:2]
    framed = ImageOps.expand(picture, widths, colour)
    assert inner_box(np.asarray(framed), (1, 1), framed.size) == (left, top, left + 60, top + 40)


def test_skies_and_plain_pictures_have_no_border() -> None:
    sky = np.repeat(np.linspace(90, 255, 200).astype(np.uint8)[:, None], 300, axis=1)
    hills = np.add.outer(np.arange(200), np.zeros(300)) > 120 + 30 * np.sin(np.arange(300) / 40)
    landscape = np.where(hills[..., None], drawn(3, 200, 300), 250).astype(np.uint8)
    for pixels in (np.repeat(sky[..., None], 3, 2), landscape, np.full((50, 50, 3), 255, np.uint8)):
        size = pixels.shape[1], pixels.shape[0]
        assert inner_box(pixels, (1, 1), size) == (0, 0, *size)


@given(st.integers(0, 99), st.integers(90, 400), st.integers(90, 400), st.floats(0.02, 0.15), colours)
def test_a_frame_of_any_plain_colour_is_cut_off(
    seed: int, width: int, height: int, share: float, colour: Colour
) -> None:
    picture, inside = framed(smooth(seed, width, height), share, colour)
    assert apart(box_of(picture), inside) <= 1


@pytest.mark.parametrize(("share", "least_quality"), [(0.02, 70), (0.05, 50), (0.1, 50), (0.15, 50)])
def test_white_and_black_frames_are_when_saved_as_jpeg_too(share: float, least_quality: int) -> None:
    """Within two pixels, as JPEG keeps colours at half the side; at 50 it may mix up one of eight pixels, its block."""
    for seed, grey, quality in product(range(3), (0, 255), (least_quality, 95)):
        picture, inside = framed(smooth(seed, 400, 300), share, (grey, grey, grey))
        assert apart(box_of(saved(picture, quality)), inside) <= 2


@given(st.integers(0, 99), st.sets(st.integers(0, 3), max_size=2), st.floats(0.02, 0.15), st.integers(5, 20))
def test_a_frame_is_as_thick_where_the_picture_begins_with_its_colour(
    seed: int, sides: set[int], share: float, deep: int
) -> None:
    pixels = np.asarray(smooth(seed, 300, 240)).copy()
    for side in sides:  # white at the top, the right, the bottom, the left, with an end that no line follows
        turned = np.rot90(pixels, side)
        rows = np.arange(len(turned))[:, None] < deep * (1 + np.linspace(0, 1, turned.shape[1]))
        turned[rows] = 255
    plain = Image.fromarray(pixels)
    picture, inside = framed(plain, share, WHITE)
    assert apart(box_of(picture), inside) <= 1


@given(st.integers(0, 99), st.lists(st.tuples(st.integers(4, 20), colours), min_size=1, max_size=3), st.booleans())
def test_a_frame_changes_nothing_of_what_is_left(seed: int, frames: list[tuple[int, Colour]], barred: bool) -> None:
    picture = smooth(seed, 200, 160)
    if barred:
        picture = ImageOps.expand(picture, (0, 30), (0, 0, 0))
    left, top, right, bottom = box_of(picture)
    more = 0
    for thick, colour in frames:
        picture, more = ImageOps.expand(picture, thick, colour), more + thick
    assert apart(box_of(picture), (left + more, top + more, right + more, bottom + more)) <= 1


@given(st.integers(0, 99), colours)
def test_a_line_at_one_side_is_no_border(seed: int, colour: Colour) -> None:
    picture = ImageOps.expand(smooth(seed, 400, 300), (0, 2, 3, 0), colour)
    assert box_of(picture) == whole(picture)


def test_things_before_a_plain_wall_stay_whole() -> None:
    pixels = np.full((300, 400, 3), 120, np.uint8)
    pixels[100:180, 160:300] = drawn(1, 80, 140)
    picture = Image.fromarray(pixels)
    assert box_of(picture) == whole(picture)


def test_only_runs_with_trim_go_by_how_borders_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, cut = Config(), Config(trim=True)
    before = [index._thumbs_key(config) for config in (kept, cut)]
    monkeypatch.setattr(index, "BORDERS", index.BORDERS + 1)
    assert index._thumbs_key(kept) == before[0]
    assert index._thumbs_key(cut) != before[1]


def test_a_plain_picture_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Pixels] = []
    cells = borders._cells
    monkeypatch.setattr(borders, "_cells", lambda row: (rows.append(row), cells(row))[1])
    blank = Image.new("RGB", (90, 60), WHITE)
    assert box_of(blank) == whole(blank)
    assert len(rows) <= 1 + blank.height
