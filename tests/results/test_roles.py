"""Which image of a cluster is kept, which are duplicates of it, and why the others are none."""

import os
import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dupegrid
from dupegrid.core.config import Config
from dupegrid.images.recipe import Reading, decode
from dupegrid.results.clusters import Asked, clusters
from dupegrid.storage.schemas import CLUSTERS, IMAGES, MATCHES
from dupegrid.storage.words import REASONS
from tests.conftest import picture, save
from tests.helpers.pages import Page
from tests.images.test_thumbnail import encoded
from tests.whole.test_exact import assert_exact


def roles(run: dupegrid.Run) -> dict[str, tuple[str, str | None]]:
    """(role, reason) by the name of a file."""
    return {Path(row["path"]).name: (row["role"], row["reason"]) for row in run.clusters.to_pylist()}


def copies(folder: Path, count: int, link: bool = False) -> None:
    """Equal pictures in a folder, or names of one."""
    first = save(folder / "00.png", 1)
    for k in range(1, count):
        if link:
            (folder / f"{k:02d}.png").hardlink_to(first)
        else:
            (folder / f"{k:02d}.png").write_bytes(first.read_bytes())


@pytest.mark.usefixtures("one_chunk")
@pytest.mark.parametrize(("count", "link"), [(2, False), (64, False), (65, False), (66, False), (3, True), (70, True)])
@pytest.mark.parametrize("side", ["against", "across"])
def test_copies_on_one_side_have_the_same_roles_however_many(tmp_path: Path, count: int, link: bool, side: str) -> None:
    """W4: they were not compared with each other, be they 64 or 65 or names of one file."""
    copies(tmp_path / "new", count, link)
    save(tmp_path / "old/z.png", 1)
    picture(1, (192, 144)).save(tmp_path / "new/near.png")  # has most pixels
    settings = {"out": tmp_path / "run", "quiet": True, "threshold": 300}
    if side == "against":
        run = dupegrid.run(tmp_path / "old", against=tmp_path / "new", **settings)
    else:
        run = dupegrid.run(tmp_path / "new", tmp_path / "old", scope="across", **settings)
    assert_exact(run)
    found = roles(run)
    keeper = next(name for name, (role, _) in found.items() if role == "keep")
    assert keeper == "near.png"
    assert found.pop("z.png") == ("duplicate", None)
    del found[keeper]
    assert set(found.values()) == {("bridge", "not_asked_for")}
    assert len(found) == count
    distance = {Path(row["path"]).name: row["mse_to_keeper"] for row in run.clusters.to_pylist()}
    assert {distance[name] for name in found} == {None}


@pytest.mark.usefixtures("one_chunk")
@pytest.mark.parametrize("count", [64, 65])
@pytest.mark.parametrize("larger", ["new", "old"])
def test_with_against_the_archives_copy_is_kept(tmp_path: Path, count: int, larger: str) -> None:
    """W4: 65 new copies of one in the archive are 65 duplicates of it, whichever is better or first."""
    copies(tmp_path / "new", count)
    (tmp_path / "old").mkdir()
    picture(1, (192, 144) if larger == "old" else (48, 36)).save(tmp_path / "old/z.png")
    run = dupegrid.run(tmp_path / "new", against=tmp_path / "old", threshold=300, out=tmp_path / "run", quiet=True)
    found = roles(run)
    assert found.pop("z.png") == ("keep", None)
    assert Counter(found.values()) == {("duplicate", None): count}
    assert run.summary.duplicates == run.summary.already_there == count


@pytest.mark.usefixtures("one_chunk")
@pytest.mark.parametrize("count", [64, 65])
def test_copies_in_one_collection_are_duplicates_however_many(tmp_path: Path, count: int) -> None:
    copies(tmp_path / "photos", count)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert Counter(role for role, _ in roles(run).values()) == {"keep": 1, "duplicate": count - 1}


def transparent(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture of which nothing can be seen."""
    image = picture(seed, size).convert("RGBA")
    image.putalpha(0)
    return image


@pytest.mark.parametrize(
    ("reason", "images"),
    [
        ("transparent", [transparent(1), transparent(2, (48, 36))]),
        ("transparent", [Image.new("RGB", (96, 72), (128, 128, 128)), transparent(2, (48, 36))]),
        ("flat", [Image.new("L", (96, 72), 3), Image.new("L", (48, 36), 5)]),
        ("aspect", [picture(1, (640, 80)), picture(1, (64, 64))]),
        ("aspect", [picture(1, (115, 100)), picture(1, (100, 100))]),
    ],
)
def test_where_the_mse_of_a_square_says_little_is_no_duplicate(
    tmp_path: Path, reason: str, images: list[Image.Image]
) -> None:
    """M9."""
    (tmp_path / "photos").mkdir()
    for name, image in zip(("0 keep.png", "1.png", "2.png"), [*images, images[1]], strict=True):
        image.save(tmp_path / "photos" / name)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert roles(run) == {"0 keep.png": ("keep", None), "1.png": ("bridge", reason), "2.png": ("bridge", reason)}
    assert run.summary.bridges == 2
    assert Page.of(run.path).words("reason").count(reason) == run.show(0).html.count(REASONS[reason]) == 2
    os.unlink(tmp_path / "photos/0 keep.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert roles(run) == {"1.png": ("keep", None), "2.png": ("duplicate", None)}, "equal bytes, whatever they show"


def test_a_raw_is_a_duplicate_of_nothing_but_its_copies(tmp_path: Path) -> None:
    """A DNG or NEF begins as a TIFF does, so that its preview is read: it went for a JPEG in another folder."""
    (tmp_path / "photos").mkdir()
    picture(1, (96, 72)).save(tmp_path / "photos/0.png")
    for name in ("DSC.NEF", "copy.nef"):
        picture(1, (48, 36)).save(tmp_path / "photos" / name, "TIFF")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert roles(run) == {"0.png": ("keep", None)} | dict.fromkeys(("DSC.NEF", "copy.nef"), ("bridge", "raw"))
    os.unlink(tmp_path / "photos/0.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert roles(run) == {"DSC.NEF": ("keep", None), "copy.nef": ("duplicate", None)}


@pytest.mark.parametrize(("frames", "reason"), [((4, 5), "frames"), ((1, 3), "frames"), ((4, 4), None)])
def test_animations_of_other_lengths_are_no_duplicates(
    tmp_path: Path, frames: tuple[int, int], reason: str | None
) -> None:
    """M9: they are compared by their first frames."""
    (tmp_path / "photos").mkdir()
    for name, count, size in zip("ab", frames, ((96, 72), (48, 36)), strict=True):
        images = [picture(seed, size) for seed in range(1, count + 1)]
        images[0].save(tmp_path / f"photos/{name}.webp", save_all=True, append_images=images[1:], lossless=True)
    run = dupegrid.run(tmp_path / "photos", threshold=300, out=tmp_path / "run", quiet=True)
    assert roles(run)["b.webp"] == ("bridge" if reason else "duplicate", reason)


def shot(path: Path, second: int, date: str = "2019:05:01 10:00", size: tuple[int, int] = (96, 72)) -> None:
    """A picture as a camera writes it."""
    exif = Image.Exif()
    exif[0x0110] = "iPhone"
    exif.get_ifd(0x8769)[0x9003] = f"{date}:{second:02d}"
    path.parent.mkdir(exist_ok=True)
    picture(1, size).save(path, exif=exif, quality=90)


def test_two_shots_of_a_burst_are_no_copies_of_each_other(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shot(photos / "a.jpg", 1)
    shot(photos / "smaller.jpg", 1, size=(90, 68))
    shot(photos / "other zone.jpg", 1, "2019:05:01 12:00", size=(90, 68))
    shot(photos / "corrected.jpg", 7, "2019:05:02 11:11")
    shot(photos / "next.jpg", 2, size=(90, 68))
    shot(photos / "other day.jpg", 1, "2019:05:03 10:00", size=(80, 60))
    picture(1).save(photos / "sent.jpg", quality=80)
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    assert roles(run) == {
        "a.jpg": ("keep", None),
        **dict.fromkeys(("next.jpg", "other day.jpg"), ("bridge", "moment")),
        **dict.fromkeys(("smaller.jpg", "other zone.jpg", "corrected.jpg", "sent.jpg"), ("duplicate", None)),
    }
    (photos / "next again.jpg").write_bytes((photos / "next.jpg").read_bytes())
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    found = {Path(row["path"]).name: (row["cluster"], row["role"]) for row in run.clusters.to_pylist()}
    assert found["next.jpg"] == (1, "keep")
    assert found["next again.jpg"] == (1, "duplicate"), "of its own shot"
    assert found["a.jpg"] == (0, "keep")
    (photos / "next again.jpg").unlink()
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    dupegrid.decide(run, "a.jpg", "next.jpg", "same")
    assert roles(dupegrid.cluster(run.path))["next.jpg"] == ("duplicate", None), "who looked at them knows better"


@pytest.mark.parametrize(
    "name", ["IMG_E1234.JPG", "IMG_1234-bearbeitet(1).jpg", "IMG_1234-modifie\u0301.jpg", "IMG_1234-ha editado.jpg"]
)
def test_what_somebody_made_of_a_picture_is_not_thrown_away_for_it(tmp_path: Path, name: str) -> None:
    """A red eye that was mended is nothing to the MSE. Where the original is the smaller one, that stays too."""
    for folder, original, edit in (("a", (96, 72), (90, 68)), ("b", (90, 68), (96, 72))):
        shot(tmp_path / folder / "IMG_1234.JPG", 1, size=original)
        shot(tmp_path / folder / name, 1, size=edit)
        (tmp_path / folder / "copy.jpg").write_bytes((tmp_path / folder / "IMG_1234.JPG").read_bytes())
        run = dupegrid.run(tmp_path / folder, out=tmp_path / f"run {folder}", quiet=True)
        found = roles(run)
        assert {found[name], found["IMG_1234.JPG"]} >= {("bridge", "edit")}
        assert found[name][0] != "duplicate"
        assert "keep" in (found[name][0], found["IMG_1234.JPG"][0])
        (tmp_path / folder / "backup").mkdir()
        shutil.copy(tmp_path / folder / name, tmp_path / folder / "backup")
        run = dupegrid.run(tmp_path / folder, out=tmp_path / f"run {folder}", quiet=True)
        assert sorted(Counter(run.clusters["cluster"].to_pylist()).values()) == [2, 2], "copies of each"
        assert Counter(run.clusters["role"].to_pylist()) == {"keep": 2, "duplicate": 2}


def test_the_aspects_are_of_the_pictures_as_the_match_turns_them(tmp_path: Path) -> None:
    """M9: a turned copy is a duplicate; the same picture pressed into the other shape is none."""
    (tmp_path / "photos").mkdir()
    picture(1, (144, 96)).save(tmp_path / "photos/0.png")
    picture(1, (120, 80)).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photos/turned.png")
    picture(1, (80, 120)).save(tmp_path / "photos/pressed.png")
    for name, settings in (("default", {}), ("given", {"max_aspect": 1.2}), ("wide", {"max_aspect": 9.0})):
        run = dupegrid.run(tmp_path / "photos", out=tmp_path / name, threshold=100, quiet=True, **settings)
        assert roles(run)["turned.png"] == ("duplicate", None)
        pressed = ("duplicate", None) if name == "wide" else ("bridge", "aspect")
        assert roles(run)["pressed.png"] == pressed


def test_pairs_left_out_by_size_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, size in (("a", (150, 100)), ("b", (140, 100)), ("c", (130, 100))):
        picture(1, size).save(tmp_path / f"photos/{name}.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", max_aspect=1.1, threshold=100, quiet=True)
    assert roles(run) == {"a.png": ("keep", None), "b.png": ("duplicate", None), "c.png": ("bridge", "not_asked_for")}


def of(rows: list[dict[str, object]], edges: list[tuple[int, int, float, str | None]], **settings: object) -> list:
    """The reasons of small tables."""
    common = {"status": "ok", "root": 0, "size_bytes": 1, "width": 100, "height": 100, "frames": 1}
    images = [{**common, "path_raw": b"%d" % id, "path": str(id), "id": id, **row} for id, row in enumerate(rows)]
    matches = [{"a": a, "b": b, "mse": mse, "score": mse, "orientation": turn} for a, b, mse, turn in edges]
    table = clusters(
        pa.Table.from_pylist(images, schema=IMAGES),
        pa.Table.from_pylist(matches, schema=MATCHES),
        50,
        Asked.of(Config(paths=["p"], **settings)),
    )
    assert table.schema == CLUSTERS
    assert table["role"].to_pylist()[0] == "keep"
    return table.sort_by("image")["reason"].to_pylist()


def test_reasons_come_in_their_order() -> None:
    odd = {"transparent": True, "flat": True, "frames": 2, "width": 50}
    first = {"camera": "A", "taken_at": datetime(2019, 5, 1)}
    shots = [first, {"camera": "A", "taken_at": datetime(2019, 5, 2, 0, 1), "path": "1-edit.png"}]
    assert of(shots, [(0, 1, 9.0, "identity")]) == [None, "moment"]
    assert of([{**shot, "taken_at": None} for shot in shots], [(0, 1, 9.0, "identity")]) == [None, "edit"]
    assert of([{**shot, "camera": None} for shot in shots], [(0, 1, 9.0, "identity")]) == [None, "edit"]
    assert of([{}, odd], [(0, 1, 0.0, "identity")]) == [None, "transparent"]
    assert of([{}, {**odd, "transparent": None}], [(0, 1, 0.0, "identity")]) == [None, "flat"]
    assert of([{}, {"frames": 2, "width": 50}], [(0, 1, 0.0, "identity")]) == [None, "frames"]
    assert of([{}, {"width": 50}], [(0, 1, 0.0, "identity")]) == [None, "aspect"]
    assert of([{}, {}, odd], [(0, 1, 0.0, "identity"), (1, 2, 0.0, "identity")]) == [None, None, "chain"]
    assert of([{"file_hash": "x"}, {**odd, "file_hash": "x"}], [(0, 1, 0.0, "identity")]) == [None, None]
    assert of([{"file_hash": None}, {**odd, "file_hash": None}], [(0, 1, 0.0, "identity")]) == [None, "transparent"]


@pytest.mark.parametrize(
    ("frames", "reason"), [((None, 3), "frames"), ((None, 1), None), ((None, None), None), ((3, 3), None)]
)
def test_a_number_of_frames_that_is_not_known(frames: tuple[int | None, int | None], reason: str | None) -> None:
    assert of([{"frames": count} for count in frames], [(0, 1, 0.0, "identity")]) == [None, reason]


@pytest.mark.parametrize(
    ("orientations", "orientation", "reason"),
    [
        ("rotations", "rot90", None),
        ("all", "flip_rot270", None),
        ("rotations", "identity", "aspect"),
        ("all", "flip", "aspect"),
        ("rotations", None, None),
        ("none", None, "aspect"),
    ],
)
def test_sides_are_swapped_by_the_orientation_of_the_match(
    orientations: str, orientation: str | None, reason: str | None
) -> None:
    rows = [{"width": 200}, {"height": 200, "size_bytes": 0}]
    assert of(rows, [(0, 1, 0.0, orientation)], orientations=orientations) == [None, reason]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
@pytest.mark.parametrize("seen", [False, True])
def test_transparent_throughout(mode: str, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """M9: every pixel has alpha 0, in whatever way that is said; one pixel that can be seen is enough."""
    monkeypatch.setattr("dupegrid.images.whole._PIXELS_AT_ONCE", 500)
    size, options = (60, 40), {}
    if mode == "P":
        image = Image.new("P", size, 7)
        image.putpalette(list(range(256)) * 3)
        options = {"transparency": 7}
    elif mode == "I;16":
        image, options = Image.fromarray(np.full(size[::-1], 7, np.uint16)), {"transparency": 7}
    else:
        image = Image.new(mode, size, 0)
    if seen:
        value = {"RGBA": (9, 9, 9, 9), "LA": (9, 9)}.get(mode, 8)
        image.putpixel((59, 39), value)
    decoded = decode(encoded(image, **options), Reading(32))
    assert (decoded.status, decoded.has_alpha, decoded.transparent) == ("ok", True, not seen)


def test_what_has_no_alpha_or_was_not_decoded_is_not_transparent(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.png", 1)
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "photos/grey.png")
    (tmp_path / "photos/broken.png").write_bytes((tmp_path / "photos/a.png").read_bytes()[:-300])
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert run.images["transparent"].to_pylist() == [False, None, False]
