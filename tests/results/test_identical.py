"""Sets of equal pictures against plain dicts of their bytes and their pixels."""

import os
import shutil
from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dupegrid
from dupegrid.core.errors import StoreError, UsageError
from dupegrid.results.schemas import IDENTICAL
from tests.conftest import picture, save

Sets = set[frozenset[bytes]]


def sets_in(run: dupegrid.Run, by: str) -> Sets:
    found = defaultdict(set)
    for row in run.identical(by).to_pylist():
        found[row["set"]].add(row["path_raw"])
    return {frozenset(paths) for paths in found.values()}


def sets_of(values: dict[bytes, Hashable]) -> Sets:
    found = defaultdict(set)
    for path, value in values.items():
        found[value].add(path)
    return {frozenset(paths) for paths in found.values() if len(paths) > 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copies of files, the same pixels in other files, near pictures, links, unreadable copies, a name in no UTF-8."""
    root = tmp_path / "photos"
    for seed in (1, 2, 3):
        one = save(root / f"{seed}.png", seed)
        shutil.copyfile(one, root / f"copy of {seed}.png")
        picture(seed).save(root / f"{seed}.bmp")
    shutil.copyfile(root / "1.png", os.fsencode(root) + b"/\xff.png")
    (root / "hard.png").hardlink_to(root / "2.png")
    picture(1).resize((48, 36)).save(root / "small.png")
    for name in ("broken.jpg", "broken too.jpg"):
        picture(4).save(root / name)
        (root / name).write_bytes((root / name).read_bytes()[:-200])
    (root / "empty.png").touch()
    (root / "empty too.png").touch()
    save(root / "alone.png", 9)
    return root


def test_equal_files_and_equal_pixels(folder: Path, tmp_path: Path) -> None:
    run = dupegrid.run(folder, out=tmp_path / "run", thumb=16, quiet=True)
    paths = [os.path.join(os.fsencode(folder), name) for name in os.listdir(os.fsencode(folder))]
    bytes_of = {path: Path(os.fsdecode(path)).read_bytes() for path in paths}
    thumbs = run.thumbs.compute()
    read = {row["path_raw"]: row["id"] for row in run.images.to_pylist() if row["status"] == "ok"}
    assert len(read) == 13
    assert sets_in(run, "file") == sets_of({path: bytes_of[path] for path in read})
    pixels = {path: thumbs[id].tobytes() for path, id in read.items()}
    assert sets_in(run, "pixels") == sets_of(pixels)
    assert {len(paths) for paths in sets_in(run, "pixels")} == {3, 4}
    for by in ("file", "pixels"):
        table = run.identical(by)
        assert table.schema == IDENTICAL
        sizes = np.bincount(table["set"].to_numpy())
        assert list(sizes) == sorted(sizes, reverse=True)
        firsts = np.flatnonzero(np.diff(table["set"].to_numpy(), prepend=-1))
        assert table["keeper"].take(firsts) == table["image"].take(firsts)
        assert not [row for row in table.to_pylist() if b"copy of" in row["path_raw"] and row["image"] == row["keeper"]]


def test_the_sets_follow_the_collection(folder: Path, tmp_path: Path) -> None:
    settings = {"out": tmp_path / "run", "thumb": 16, "quiet": True}
    indexed = dupegrid.index(folder, **settings)
    assert len(sets_in(indexed, "file")) == 3
    with pytest.raises(UsageError, match="by 'file', 'pixels' or 'hash'"):
        indexed.identical("name")
    (folder / "copy of 3.png").unlink()
    (folder / "3.bmp").unlink()
    again = dupegrid.index(folder, **settings)
    assert len(sets_in(again, "file")) == 2
    assert len(sets_in(again, "pixels")) == 2
    with pytest.raises(StoreError, match="another moment"):
        indexed.identical("pixels")


def test_of_nothing_there_are_no_sets(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), (len(name), ord(name), 0)).save(tmp_path / f"photos/{name}.png")
    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", thumb=8, quiet=True)
    assert len(run.identical("file")) == len(run.identical("pixels")) == 0
    shutil.rmtree(tmp_path / "run")
    for name in ("a", "b"):
        (tmp_path / f"photos/{name}.png").unlink()
    empty = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", thumb=8, quiet=True)
    assert len(empty.identical("file")) == len(empty.identical("pixels")) == 0
