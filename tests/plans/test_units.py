"""What belongs together goes together or stays: by folder and name, shown on a collection of names."""

import os
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dupegrid.plans.units import BESIDE, is_named_after, is_sidecar, with_lost_sidecars, with_units
from dupegrid.storage.schemas import IMAGES, PLAN


def done(
    going: dict[str, str],
    files: dict[str, str],
    protected: tuple[str, ...] = (),
    bridges: dict[str, str] | None = None,
    read: dict[bytes, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """The plan by path, of files that would go (path -> keeper) among other files (path -> what they hold).

    `bridges` are kept, each for its reason.
    """
    read, kept = read or {}, bridges or {}
    names = [*going, *kept, *sorted({*going.values()} - {*going, *kept})]
    others = [name for name in files if name not in names]
    hashes = {**dict.fromkeys(names, "picture"), **files}
    images = pa.Table.from_pylist(
        [
            {"id": k, "path": name, "path_raw": name.encode(), "file_hash": hashes[name] or None}
            for k, name in enumerate([*names, *others])
        ],
        IMAGES,
    )
    rows = [
        {
            **{"action": "trash", "image": k, "path": name, "path_raw": name.encode(), "keeper": names.index(keeper)},
            **{"keeper_path": keeper, "keeper_path_raw": keeper.encode(), "rule": "pixels", "mse": 1.0},
        }
        for k, (name, keeper) in enumerate(going.items())
    ]
    rows += [
        {"action": "keep", "reason": reason, "image": names.index(name), "path": name, "path_raw": name.encode()}
        for name, reason in kept.items()
    ]
    listed = sorted({name.encode() for name in [*names, *others]})
    beside = pa.Table.from_pylist([{"path_raw": path, "size_bytes": 7} for path in listed], BESIDE)
    never = np.array([os.fsdecode(path) in protected for path in listed], bool)
    table = with_units(pa.Table.from_pylist(rows, PLAN), images, beside, never, lambda path, _: read.get(path))
    assert table.schema == PLAN
    found = {row["path"]: row for row in table.to_pylist()}
    assert len(found) == len(table)
    return found


def fates(*args: Any, **more: Any) -> dict[str, str]:
    return {path: row["reason"] or row["action"] for path, row in done(*args, **more).items()}


@pytest.mark.parametrize(
    "sidecar",
    [
        "a/x.xmp",
        "a/x.jpg.xmp",
        "a/x.jpg.XMP",
        "a/x.AAE",
        "a/x.json",
        "a/x.jpg.json",
        "a/x.jpg.supplemental-metadata.json",
        "a/x.jpg.supplemental-meta.json",
        "a/x.jpg.s.json",
    ],
)
def test_a_sidecar_goes_with_its_picture(sidecar: str) -> None:
    found = done({"a/x.jpg": "k/x.jpg"}, {sidecar: "text", "a/other.xmp": "", "b/x.xmp": "", "a/x1.json": ""})
    assert set(found) == {"a/x.jpg", sidecar}
    row = found[sidecar]
    assert (row["action"], row["image"], row["goes_with"], row["file_hash"]) == ("trash", None, 0, None)
    assert (row["keeper_path"], row["size_bytes"], row["mse"], row["rule"]) == ("k/x.jpg", 7, None, None)


def test_what_google_knows_of_a_picture_stays_with_its_edit() -> None:
    json = "a/x.jpg.supplemental-metadata.json"
    assert fates({"a/x.jpg": "k/x.jpg"}, {"a/x-edited.jpg": "edit", json: "{}"})[json] == "shared"
    both = {"a/x.jpg": "k/x.jpg", "a/x-edited.jpg": "k/x.jpg"}
    assert fates(both, {json: "{}"})[json] == "trash"


def test_takeout_numbers_its_sidecars_in_its_own_way() -> None:
    for sidecar in ("a/x.jpg(1).json", "a/x.jpg.supplemental-metadata(1).json"):
        assert fates({"a/x(1).jpg": "k/x.jpg"}, {sidecar: "", "a/x.jpg.json": "", "a/x.jpg": "other"}) == {
            "a/x(1).jpg": "trash",
            sidecar: "trash",
        }


@pytest.mark.parametrize("sidecar", ["a/x.xmp", "a/x.json"])
def test_a_sidecar_of_a_picture_that_stays_too_is_kept(sidecar: str) -> None:
    files = {sidecar: "text", "a/x.png": "another"}
    assert fates({"a/x.jpg": "k/x.jpg"}, files) == {"a/x.jpg": "trash", sidecar: "shared"}
    both = {"a/x.jpg": "k/x.jpg", "a/x.png": "k/x.jpg"}
    assert fates(both, files) == {"a/x.jpg": "trash", "a/x.png": "trash", sidecar: "trash"}


@pytest.mark.parametrize("partner", ["a/x.DNG", "a/x.nef", "a/x.mov", "a/x.MP4"])
def test_a_picture_whose_other_half_stays_is_kept(partner: str) -> None:
    assert fates({"a/x.jpg": "k/y.jpg"}, {partner: "raw", "k/y.cr2": "other", "a/x.xmp": ""}) == {"a/x.jpg": "unit"}
    unread = {partner: "", "k/y.dng": ""}  # what nobody could read is like nothing
    assert fates({"a/x.jpg": "k/y.jpg"}, unread) == {"a/x.jpg": "unit"}


def test_the_other_half_goes_where_the_keeper_has_the_same_one() -> None:
    files = {"a/x.NEF": "raw", "k/y.nef": "raw", "a/x.xmp": "text", "a/x.mov": "film", "k/y.MOV": "film"}
    found = done({"a/x.jpg": "k/y.jpg"}, files)
    assert {path: row["action"] for path, row in found.items()} == dict.fromkeys(
        ("a/x.jpg", "a/x.NEF", "a/x.mov", "a/x.xmp"), "trash"
    )
    row = found["a/x.NEF"]
    assert (row["keeper_path"], row["keeper_file_hash"], row["file_hash"]) == ("k/y.nef", "raw", "raw")
    assert row["goes_with"] == 0
    assert row["image"] is not None


def test_a_raw_that_was_compared_with_a_jpeg_goes_for_its_copy_beside_that() -> None:
    files = {"a/x.nef": "raw", "k/y.nef": "raw", "a/x.xmp": "text"}
    going = {"a/x.jpg": "k/y.jpg"}
    fate = fates(going, files, bridges={"a/x.nef": "raw", "k/y.nef": "raw"})
    assert fate == {**dict.fromkeys(("a/x.jpg", "a/x.nef", "a/x.xmp"), "trash"), "k/y.nef": "raw"}
    fate = fates(going, {**files, "k/y.nef": "other"}, bridges={"a/x.nef": "raw", "k/y.nef": "raw"})
    assert fate == {"a/x.jpg": "unit", "a/x.nef": "raw", "k/y.nef": "raw"}
    fate = fates(going, files, bridges={"a/x.nef": "raw", "k/y.nef": "raw"}, protected=("a/x.nef",))
    assert fate == {"a/x.jpg": "unit", "a/x.nef": "raw", "k/y.nef": "raw"}


def test_what_no_run_has_read_is_read_where_that_decides() -> None:
    files = {"a/x.mov": "", "k/y.mov": "", "k/y.dng": ""}
    equal = {b"a/x.mov": "film", b"k/y.mov": "film"}
    row = done({"a/x.heic": "k/y.heic"}, files, read=equal)["a/x.mov"]
    assert (row["action"], row["file_hash"], row["keeper_file_hash"], row["keeper_path"]) == (
        *("trash", "film", "film"),
        "k/y.mov",
    )
    assert fates({"a/x.heic": "k/y.heic"}, files, read={**equal, b"k/y.mov": "other"}) == {"a/x.heic": "unit"}


@pytest.mark.parametrize(
    ("name", "picture", "belongs"),
    [
        (b"x.xmp", b"x.jpg", True),
        (b"x.jpg.xmp", b"x.jpg", True),
        (b"x.jpg(1).json", b"x(1).jpg", True),
        (b"x.dng", b"x.jpg", True),
        (b"x.jpg.xmp", b"y.jpg", False),
        (b"xy.dng", b"x.jpg", False),
        (b"x.y.xmp", b"x.jpg", False),
    ],
)
def test_what_is_named_after_a_picture(name: bytes, picture: bytes, belongs: bool) -> None:
    assert is_named_after(name, picture) == belongs


def test_both_halves_that_were_compared_go_or_stay_together() -> None:
    both = {"a/x.jpg": "k/y.jpg", "a/x.dng": "k/y.dng"}
    assert fates(both, {}) == dict.fromkeys(both, "trash")
    assert fates({"a/x.jpg": "k/y.jpg"}, {}, bridges={"a/x.dng": "flat"}) == {"a/x.jpg": "unit", "a/x.dng": "flat"}
    assert fates({"a/x.jpg": "a/x.dng"}, {}) == {"a/x.jpg": "unit"}  # one of a pair is the keeper of the other


def test_what_is_protected_never_goes_along() -> None:
    files = {"a/x.nef": "raw", "k/y.nef": "raw", "a/x.xmp": "text"}
    assert fates({"a/x.jpg": "k/y.jpg"}, files, protected=("a/x.nef",)) == {"a/x.jpg": "unit"}
    assert fates({"a/x.jpg": "k/y.jpg"}, {"a/x.xmp": ""}, protected=("a/x.xmp",))["a/x.xmp"] == "protected"


def test_a_sidecar_that_the_keeper_lacks_is_said() -> None:
    rows = [
        {"path_raw": b"a/x.jpg", "keeper_path_raw": b"k/y.jpg", "lost_metadata": "gps"},
        {"path_raw": b"a/z.jpg", "keeper_path_raw": b"k/z.jpg"},
        {"path_raw": b"a/w.jpg", "keeper_path_raw": b"k/y.jpg"},
    ]
    files = (b"a/x.jpg", b"a/x.xmp", b"a/z.jpg", b"a/z.xmp", b"k/y.jpg", b"k/z.jpg", b"k/z.jpg.json", b"a/w.jpg")
    beside = pa.Table.from_pylist([{"path_raw": path} for path in files], BESIDE)
    found = with_lost_sidecars(pa.Table.from_pylist(rows, PLAN), beside, set(), lambda _: None)
    assert found["lost_metadata"].to_pylist() == ["gps, sidecar", None, None]


@pytest.mark.parametrize(
    ("rated", "of_sidecars", "lost"),
    [
        ({b"a/x.jpg"}, {}, "date, rating"),
        ({b"a/x.jpg", b"k/y.jpg"}, {}, "date"),
        ({b"a/x.jpg"}, {b"k/y.jpg.xmp": 3}, "date"),
        (set(), {b"a/x.xmp": 3}, "date, rating"),
        (set(), {b"a/x.xmp": 3, b"k/y.jpg.xmp": 1}, "date"),
        ({b"k/y.jpg"}, {b"a/x.xmp": 3}, "date"),
        (set(), {}, "date"),
    ],
)
def test_a_rating_that_the_keeper_lacks_is_said(rated: set[bytes], of_sidecars: dict[bytes, int], lost: str) -> None:
    """In the file, or in a sidecar of it."""
    own = ", ".join(["date", *(["rating"] if b"a/x.jpg" in rated and b"k/y.jpg" not in rated else [])])
    rows = [{"path_raw": b"a/x.jpg", "keeper_path_raw": b"k/y.jpg", "lost_metadata": own}]
    files = (b"a/x.jpg", b"a/x.xmp", b"k/y.jpg", b"k/y.jpg.xmp")
    beside = pa.Table.from_pylist([{"path_raw": path} for path in files], BESIDE)
    found = with_lost_sidecars(pa.Table.from_pylist(rows, PLAN), beside, rated, of_sidecars.get)
    assert found["lost_metadata"].to_pylist() == [lost]


def test_a_sidecar_of_the_other_half_goes_with_the_unit() -> None:
    """As darktable calls them: of a raw that goes along it goes along, and of one that stays it stays."""
    files = {"a/x.dng": "raw", "k/y.dng": "raw", "a/x.dng.xmp": "", "a/x.jpg.xmp": "", "a/z.dng.xmp": ""}
    found = done({"a/x.jpg": "k/y.jpg"}, files)
    gone = {path for path, row in found.items() if row["action"] == "trash"}
    assert gone == {"a/x.jpg", "a/x.dng", "a/x.dng.xmp", "a/x.jpg.xmp"}
    assert {found[path]["goes_with"] for path in gone - {"a/x.jpg"}} == {0}
    assert fates({"a/x.jpg": "k/y.jpg"}, {**files, "k/y.dng": "another"}) == {"a/x.jpg": "unit"}
    assert is_named_after(b"x.dng.xmp", b"x.jpg")
    assert not is_named_after(b"x.dng.xmp", b"y.jpg")
    assert not is_named_after(b"x.png.xmp", b"x.jpg")


@given(st.text(alphabet=".ax/m\u00e9", max_size=9).map(os.fsencode), st.sampled_from([b".xmp", b".XMP", b"xmp", b"."]))
@example(b"a/", b".xmp")  # a hidden file, which has no ending
@example(b"a.b/c", b"xmp")
def test_a_sidecar_is_known_by_the_ending_of_its_name(path: bytes, end: bytes) -> None:
    assert is_sidecar(path + end) == (os.path.splitext(path + end)[1].lower() in (b".xmp", b".json", b".aae", b".thm"))
