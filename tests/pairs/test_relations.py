"""What the two pictures of a match are to each other: made pictures whose relations are known, stopped, harmed."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

import dupegrid
from dupegrid.app import demo
from dupegrid.app.command.lines import explain_lines, status_lines, summary_lines
from dupegrid.core.arrays import ORIENTATIONS, inverse, turned
from dupegrid.core.errors import DamagedError, DupegridError, StoreError, UsageError
from dupegrid.images import recipe, sandbox
from dupegrid.images.decoded import Reading
from dupegrid.images.relation import difference, relation
from dupegrid.pairs import relations as stage
from dupegrid.results.explain import Relation
from dupegrid.storage.tables import read_metadata, write_table
from dupegrid.storage.words import RELATIONS
from tests.whole.test_trust import forge

SETTINGS: dict[str, Any] = {"quiet": True, "thumb": 16, "cutoff": 600.0, "orientations": "all", "relations": True}


def with_text(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((20, image.height - 30), "12 May", fill=(255, 255, 0))
    return image


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize([round(side * factor) for side in image.size], Image.Resampling.LANCZOS)


def cut(image: Image.Image) -> Image.Image:
    return image.crop((6, 4, image.width - 6, image.height - 4))


def pierced(image: Image.Image) -> Image.Image:
    alpha = Image.new("L", image.size, 255)
    ImageDraw.Draw(alpha).rectangle((40, 40, 70, 70), fill=0)
    return Image.merge("RGBA", (*image.split(), alpha))


HALF_TURN = Image.Exif()
HALF_TURN[0x0112] = 3
# name -> what it is made of the first picture as, how it is saved, what it is to that one
KNOWN: dict[str, tuple[Callable[[Image.Image], Image.Image], dict[str, Any], str]] = {
    "copy.png": (lambda x: x, {}, "same_bytes"),
    "again.png": (lambda x: x, {"compress_level": 1}, "same_pixels"),
    "other.tiff": (lambda x: x, {}, "same_pixels"),
    "lossless.webp": (lambda x: x, {"lossless": True}, "same_pixels"),
    "opaque.png": (lambda x: x.convert("RGBA"), {}, "same_pixels"),
    "stored_turned.png": (lambda x: x.rotate(180), {"exif": HALF_TURN}, "same_pixels"),
    "profile.png": (lambda x: x, {"icc_profile": b"another"}, "recompressed"),
    "q60.jpg": (lambda x: x, {"quality": 60}, "recompressed"),
    "q75.jpg": (lambda x: x, {"quality": 75}, "recompressed"),
    "q95.jpg": (lambda x: x, {"quality": 95}, "recompressed"),
    "q70.webp": (lambda x: x, {"quality": 70}, "recompressed"),
    "exif.jpg": (lambda x: x.rotate(180), {"exif": HALF_TURN, "quality": 85}, "recompressed"),
    "few.gif": (lambda x: x, {}, "recompressed"),
    "dithered.gif": (lambda x: x.convert("P"), {}, "recompressed"),
    "few_smaller.gif": (lambda x: scaled(x, 0.6), {}, "resized"),
    "picked.png": (lambda x: x.resize((130, 97), Image.Resampling.NEAREST), {}, "resized"),
    "picked_larger.png": (lambda x: x.resize((260, 195), Image.Resampling.NEAREST), {}, "resized"),
    "picked_at_the_edge.png": (lambda x: Image.fromarray(np.asarray(x)[::2, ::2].copy()), {}, "resized"),
    "smaller.jpg": (lambda x: scaled(x, 0.6), {"quality": 85}, "resized"),
    "odd.png": (lambda x: scaled(x, 0.317), {}, "resized"),
    "larger.jpg": (lambda x: scaled(x, 1.7), {"quality": 90}, "resized"),
    "rot90.png": (lambda x: x.transpose(Image.Transpose.ROTATE_90), {}, "turned"),
    "rot180.jpg": (lambda x: x.rotate(180), {"quality": 80}, "turned"),
    "mirrored.png": (lambda x: x.transpose(Image.Transpose.FLIP_LEFT_RIGHT), {}, "turned"),
    "turned_smaller.jpg": (lambda x: scaled(x.transpose(Image.Transpose.TRANSVERSE), 0.5), {"quality": 85}, "turned"),
    "text.jpg": (with_text, {"quality": 92}, "edited"),
    "text_turned.jpg": (lambda x: with_text(x).rotate(180), {"quality": 92}, "edited"),
    "text_smaller.jpg": (lambda x: scaled(with_text(x), 0.7), {"quality": 92}, "edited"),
    "cut.png": (cut, {}, "edited"),
    "cut_and_enlarged.jpg": (lambda x: cut(x).resize(x.size), {"quality": 92}, "edited"),
    "brighter.jpg": (lambda x: x.point(lambda value: min(255, round(value * 1.05))), {"quality": 92}, "edited"),
    "little_brighter.jpg": (lambda x: x.point(lambda value: min(255, round(value * 1.01))), {"quality": 92}, "edited"),
    "less_contrast.png": (lambda x: x.point(lambda value: round(128 + (value - 128) * 0.97)), {}, "edited"),
    "text.gif": (with_text, {}, "edited"),
    "text_picked.png": (lambda x: with_text(x).resize((130, 97), Image.Resampling.NEAREST), {}, "edited"),
    "stretched.png": (lambda x: x.resize((x.width, x.height * 11 // 10)), {}, "edited"),
    "softer.png": (lambda x: x.filter(ImageFilter.GaussianBlur(1.5)), {}, "edited"),
    "pierced.png": (pierced, {}, "edited"),
    "moving.webp": (
        lambda x: x,
        {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", (9, 9))]},
        "edited",
    ),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of which every other is made, and one in deep grey with its copies."""
    folder = tmp_path_factory.mktemp("known")
    first = demo.drawn(np.random.default_rng(3)).resize((200, 150))
    for name, (change, options, _) in {"0.png": (lambda x: x, {}, ""), **KNOWN}.items():
        if "save_all" in options:
            options = options | {"append_images": [first.rotate(180)]}
        change(first).save(folder / name, **options)
    deep = np.cumsum(np.random.default_rng(4).integers(0, 400, (90, 120)), axis=1).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep).save(folder / "deep.tiff")
    Image.fromarray(np.rint(deep / 257).astype(np.uint8)).save(folder / "shallow.png")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(photos, out=tmp_path_factory.mktemp("known_run") / "run", scheduler="threads", **SETTINGS)


@pytest.fixture(scope="module")
def some(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """A run of some of them."""
    folder = tmp_path_factory.mktemp("some")
    for path in sorted(photos.iterdir())[:14]:
        shutil.copy2(path, folder)
    return dupegrid.run(folder, out=tmp_path_factory.mktemp("some_run") / "run", scheduler="sync", **SETTINGS)


def told(run: dupegrid.Run) -> dict[frozenset[str], dict[str, Any]]:
    """The relation of each match, by the names of its files."""
    name = [Path(path).name for path in run.images["path"].to_pylist()]
    return {frozenset((name[row["a"]], name[row["b"]])): row for row in run.relations.to_pylist()}


def test_every_relation_of_made_pictures_is_told(run: dupegrid.Run) -> None:
    rows = told(run)
    assert {name: rows[frozenset(("0.png", name))]["relation"] for name in KNOWN} == {
        name: expected for name, (*_, expected) in KNOWN.items()
    }
    assert rows[frozenset(("deep.png", "deep.tiff"))]["relation"] == "same_pixels"
    assert rows[frozenset(("deep.png", "shallow.png"))]["relation"] == "recompressed"
    assert all((row["reason"] is None) == (row["relation"] != "edited") for row in rows.values())
    assert "other numbers of frames: 1 and 2" in [row["reason"] for row in rows.values()]
    assert run.relations.select(["a", "b"]).equals(run.matches.select(["a", "b"]))
    assert set(run.relations["relation"].to_pylist()) == set(RELATIONS) - {"unknown"}


def test_summary_status_and_explain_say_what_was_told(run: dupegrid.Run) -> None:
    words = Counter(run.relations["relation"].to_pylist())
    state = dupegrid.status(run)
    assert state.relations == words
    assert state.relate is not None
    assert (state.relate.done, state.relate.total) == (len(run.matches), len(run.matches))
    assert sum(run.summary.relations.values()) == run.summary.matches == len(run.at(run.config.threshold).matches)
    lines = "\n".join([*status_lines(state), *summary_lines(run.summary)])
    assert f"{words['edited']} edited" in lines
    assert f"of these pairs {run.summary.relations['same_bytes']} same_bytes" in lines
    row = next(row for row in run.relations.to_pylist() if row["relation"] == "edited" and row["full_mse"] is not None)
    found = run.explain(row["a"], row["b"])
    assert found.relation == Relation("edited", row["full_mse"], row["reason"])
    assert row["reason"] in "\n".join(explain_lines(found, 50))
    assert escape(row["reason"]) in found._repr_html_()


def test_the_mse_is_that_of_all_pixels(run: dupegrid.Run, photos: Path) -> None:
    rows, first = told(run), np.asarray(Image.open(photos / "0.png"), float)
    for name, undo in (("q60.jpg", None), ("text.jpg", None), ("rot180.jpg", 2), ("again.png", None)):
        other = np.asarray(Image.open(photos / name).convert("RGB"), float)
        expected = np.square((np.rot90(other, undo) if undo else other) - first).mean()
        assert rows[frozenset(("0.png", name))]["full_mse"] == pytest.approx(expected)
    assert rows[frozenset(("0.png", "stretched.png"))]["full_mse"] is None


@pytest.mark.usefixtures("workers_forked")
def test_the_same_of_every_scheduler_and_from_a_zip(run: dupegrid.Run, photos: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    other = dupegrid.run(tmp_path / "photos.zip", out=tmp_path / "run", scheduler="processes", **SETTINGS)
    assert told(other) == told(run)


def test_stopped_and_run_again_only_what_is_missing_is_made(
    some: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_BLOCK_IMAGES", 4)
    made: list[int] = []
    tell = stage.tell

    def failing(job: stage.Job, number: int) -> int:
        made.append(number)
        if len(made) == 3:
            raise DupegridError("stop")
        return tell(job, number)

    monkeypatch.setattr(stage, "tell", failing)
    (photos,), options = some.config.paths, {**SETTINGS, "scheduler": "sync", "out": tmp_path / "run"}
    with pytest.raises(DupegridError, match="stop"):
        dupegrid.run(photos, **options)
    with pytest.raises(StoreError, match="--relations"):
        _ = dupegrid.open_run(tmp_path / "run").relations
    again = dupegrid.run(photos, **options)
    assert sorted(made) == sorted([*{*made}, made[2]])  # each once, but for the one that failed
    assert len({*made}) > 4
    assert again.relations.equals(some.relations)
    count = len(made)
    part = sorted((tmp_path / "run/relations.parquet").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-50])
    assert dupegrid.run(photos, **options).relations.equals(some.relations)
    assert len(made) == count + 1


def test_what_cannot_be_looked_at_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone, one that has changed, also with its stamps as they were, and one that kills its decoder."""
    (folder := tmp_path / "photos").mkdir()
    first = demo.drawn(np.random.default_rng(5)).resize((100, 80))
    for level, name in enumerate(names := ["0.png", "1.png", "2.png", "3.bmp", "4.png"]):
        first.save(folder / name, compress_level=level)
    first.resize((101, 80)).save(folder / "kills.png")
    made = dupegrid.run(folder, out=tmp_path / "run", **SETTINGS | {"relations": False})
    with pytest.raises(StoreError, match=r"dupegrid run \.\.\. --relations"):
        _ = made.relations
    (folder / "1.png").unlink()
    first.rotate(180).save(folder / "2.png", compress_level=2)
    before, data = (folder / "3.bmp").stat(), bytearray((folder / "3.bmp").read_bytes())
    data[-30] ^= 1  # of a pixel
    (folder / "3.bmp").write_bytes(data)
    os.utime(folder / "3.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    kill = "import os\nfrom dupegrid.images import recipe\nwhole = recipe.whole_pixels\n"
    kill += "recipe.whole_pixels = lambda image, rgb: os.abort() if image.width == 101 else whole(image, rgb)\n"
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace("serve()\n", kill + "\nserve()\n", 1))
    rows = told(dupegrid.compare(made, relations=True, quiet=True))
    assert len(rows) == 15
    for pair, row in rows.items():
        assert row["relation"] == ("same_pixels" if pair == {"0.png", "4.png"} else "unknown")
    reasons = [rows[frozenset(("0.png", name))]["reason"] for name in (*names[1:4], "kills.png")]
    assert reasons[0] == "b: changed: the file is gone"
    assert reasons[1] == reasons[2] == "b: changed: the file is not the one that was listed"
    assert "its decoder died" in reasons[3]
    monkeypatch.setattr(stage, "MOST_PIXELS", 7000)
    rows = told(dupegrid.compare(made, quiet=True))
    assert "over 0 megapixels" in rows[frozenset(("0.png", "4.png"))]["reason"]


def test_relations_go_with_the_matches_that_they_are_of(some: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(some.path, tmp_path / "run")
    other = dupegrid.compare(tmp_path / "run", cutoff=100, relations=False, quiet=True)
    with pytest.raises(StoreError, match="--relations"):
        _ = other.relations
    assert not (other.path / "relations.parquet").exists()
    assert len(dupegrid.compare(other, relations=True, quiet=True).relations) == len(other.matches) > 0


def test_a_run_directory_of_somebody_else(run: dupegrid.Run, tmp_path: Path) -> None:
    """Words that no run writes are refused, and nothing is fetched because it says so."""
    shutil.copytree(run.path, tmp_path / "run")
    part = tmp_path / "run/relations.parquet/part-000000.parquet"
    table = pq.read_table(part)
    words = pa.array(["<b>"] * len(table))
    write_table(part, table.set_column(2, table.field("relation"), words), read_metadata(part))
    opened = dupegrid.open_run(tmp_path / "run")
    with pytest.raises(DamagedError, match="words that no run writes"):
        _ = opened.relations
    forge(opened, paths=["http://127.0.0.1:9/photos"])
    with pytest.raises(UsageError, match="name the PATHs"):
        dupegrid.compare(tmp_path / "run", quiet=True)


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 70), st.sampled_from([3, 4]))
@settings(max_examples=30)
def test_the_difference_is_that_of_plain_loops(seed: int, height: int, width: int, channels: int) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(0, 256, (height, width, channels), np.uint8)
    b = np.clip(a + random.integers(-9, 10, a.shape), 0, 255).astype(np.uint8)
    found, apart = difference(a, b), b.astype(float) - a
    assert found.mse == pytest.approx(np.square(apart[..., :3]).mean())
    rows, columns = (list(range(0, max(1, side - 8), 16)) for side in (height, width))
    means = [
        apart[y : y1 or None, x : x1 or None].mean(axis=(0, 1))
        for y, y1 in zip(rows, [*rows[1:], 0], strict=True)
        for x, x1 in zip(columns, [*columns[1:], 0], strict=True)
    ]
    grey = max(abs(mean[:3] @ (0.299, 0.587, 0.114)) for mean in means)
    assert found.cell == pytest.approx(max(grey, 0.33 * np.abs(means).max()), rel=1e-5)
    assert found.colours == pytest.approx(np.sqrt(np.square(np.array(means)[:, :3]).mean()))
    assert difference(a, a) == (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_picture_turned_back_is_that_picture(orientation: str) -> None:
    a = np.asarray(demo.drawn(np.random.default_rng(6)).resize((90, 60)))
    b = np.ascontiguousarray(turned(a[None], inverse(orientation))[0])
    expected = "same_pixels" if orientation == "identity" else "turned"
    assert relation(a, b, orientation, True) == (expected, 0.0, None)
    assert relation(a, b, orientation, False).relation == expected.replace("same_pixels", "recompressed")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=200), st.integers(0, 2**32))
@settings(max_examples=40)
def test_pieces_of_work_are_no_larger_than_they_may_be(pairs: list[tuple[int, int]], seed: int) -> None:
    ids = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]}) or [(0, 1)]
    a, b = (np.array(column) for column in zip(*ids, strict=True))
    pixels = np.random.default_rng(seed).integers(1, 30, 61) * 1_000_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_BLOCK_IMAGES", 5)
        piece = stage.laid_out(a, b, pixels)
    assert set(piece.tolist()) == set(range(piece.max() + 1))
    for number in range(piece.max() + 1):
        images = np.unique(np.concatenate([a[piece == number], b[piece == number]]))
        assert len(images) <= 10
        assert pixels[images].sum() <= 2 * stage._BLOCK_PIXELS


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_pixels_of_every_mode_are_those_that_pillow_shows(mode: str, tmp_path: Path) -> None:
    """Large ones are taken a band at a time, as small ones are."""
    values = np.random.default_rng(7).integers(0, 256, (40, 50, 4), np.uint8)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    image = Image.fromarray(values[..., 0].astype(deep[mode])) if mode in deep else Image.fromarray(values)
    image = image if mode in (*deep, "RGBA") else image.convert("RGB").convert(mode)
    assert image.mode == mode
    path = tmp_path / "picture"
    image.save(path, "TIFF" if mode in ("CMYK", "YCbCr", "I", "F") else "PNG")
    data, reading = path.read_bytes(), Reading(8, whole=True)
    whole = recipe.decode(data, reading)
    assert (whole.status, whole.thumb) == ("ok", None)
    assert whole.pixels is not None
    if mode == "RGBA":
        np.testing.assert_array_equal(whole.pixels[..., 3], values[..., 3])
    elif mode not in deep:
        np.testing.assert_array_equal(whole.pixels, np.asarray(image.convert("RGB")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dupegrid.images.whole._PIXELS_AT_ONCE", 150)
        banded = recipe.decode(data, reading)
    np.testing.assert_array_equal(whole.pixels, banded.pixels)
    assert whole.beside == banded.beside is not None
