"""Which file is which: stamps that agree, times at the ends, inodes that are used again or made up, hashes."""

import hashlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dupegrid
from dupegrid.images import hashing
from dupegrid.images.discover import Listing, _Walk, discover
from tests.conftest import noise
from tests.whole.test_resume import by_path

SETTINGS = {"scheduler": "sync", "quiet": True, "thumb": 16}


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk: what file systems do is the point of these tests."""
    return disk_path


def statuses(run: dupegrid.Run) -> dict[str, str]:
    return {os.path.basename(row["path"]): row["status"] for row in run.images.to_pylist()}


def assert_every_row_is_of_its_file(run: dupegrid.Run) -> None:
    rows = [row for row in run.images.to_pylist() if row["status"] != "removed"]
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        data = Path(os.fsdecode(row["path_raw"])).read_bytes()
        assert row["file_hash"] == hashlib.blake2b(data, digest_size=16).hexdigest()


def lie(monkeypatch: pytest.MonkeyPatch, told: Callable[[os.stat_result, str], dict[str, int]]) -> None:
    """Have the system tell other things of files when they are listed: `told` by status and name."""
    status_of = _Walk._status

    def status(walk: _Walk, entry: os.DirEntry[bytes]) -> object:
        true = status_of(walk, entry)
        return true and Status(true, told(true, os.fsdecode(entry.name)))

    monkeypatch.setattr(_Walk, "_status", status)


class Status:
    """A status of which some fields are others."""

    def __init__(self, true: os.stat_result, told: dict[str, int]) -> None:
        self._true = true
        self.__dict__ |= told

    def __getattr__(self, name: str) -> object:
        return getattr(self._true, name)


# Equal stamps, inodes used again


def test_files_of_one_size_and_time_in_place_of_deleted_ones_are_not_taken_for_them(tmp_path: Path) -> None:
    """W1: the file system gives their inodes to the new ones."""
    photos = tmp_path / "photos"
    for k in range(20):
        noise(photos / f"old/{k}.bmp", k, 315532800)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    shutil.rmtree(photos / "old")
    for k in range(20):
        noise(photos / f"new/{k}.bmp", 100 + k, 315532800)
    again = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert_every_row_is_of_its_file(again)
    assert by_path(again) == by_path(dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS))


def test_a_device_inode_size_and_time_that_agree_are_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W1, on a file system where all of these agree by chance."""
    photos = tmp_path / "photos"
    noise(photos / "a.bmp", 1, 1000)
    lie(monkeypatch, lambda _true, _name: {"st_ino": 7, "st_ctime_ns": 5})
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    noise(photos / "b.bmp", 2, 1000)
    (photos / "a.bmp").unlink()
    assert_every_row_is_of_its_file(dupegrid.run(photos, out=tmp_path / "run", **SETTINGS))


def test_a_file_changed_in_place_whose_time_was_put_back_is_noticed(tmp_path: Path) -> None:
    """W2: cp --preserve, rsync --inplace."""
    photos = tmp_path / "photos"
    for k in range(3):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    before = (photos / "1.bmp").stat()
    with open(photos / "1.bmp", "r+b") as file:
        file.write(noise(tmp_path / "other.bmp", 9).read_bytes())
    os.utime(photos / "1.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    again = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert_every_row_is_of_its_file(again)
    assert again.images["ctime_ns"].to_pylist()[1] == (photos / "1.bmp").stat().st_ctime_ns


def test_another_mode_or_name_or_place_costs_no_decoding(tmp_path: Path, opened: list[str]) -> None:
    """All of these change the change time, or the path: the file is read, and known by its hash."""
    photos = tmp_path / "photos"
    for k in range(5):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    opened.clear()
    (photos / "0.bmp").chmod(0o600)
    (photos / "link.bmp").hardlink_to(photos / "1.bmp")
    (photos / "2.bmp").rename(photos / "moved.bmp")
    (photos / "3.bmp").rename(photos / "swap")
    (photos / "4.bmp").rename(photos / "3.bmp")
    (photos / "swap").rename(photos / "4.bmp")
    again = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert not {"0.bmp", "1.bmp", "moved.bmp"} & set(opened)
    assert_every_row_is_of_its_file(again)
    opened.clear()
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert opened == []


# Times and numbers at the ends


@pytest.mark.parametrize("mtime_s", [10_413_792_000, -3_000_000_000, 2**33])
def test_any_time_is_a_row(tmp_path: Path, opened: list[str], mtime_s: int) -> None:
    """C1: nanoseconds after 2262 are more than an int64 holds."""
    photos = tmp_path / "photos"
    noise(photos / "a.png", 1)
    noise(photos / "b.png", 1, mtime_s)
    for _ in range(2):
        run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
        assert statuses(run) == {"a.png": "ok", "b.png": "ok"}
    assert sorted(opened) == ["a.png", "b.png"]


def test_any_size_time_and_inode_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C1."""
    noise(tmp_path / "photos/a.png", 1)
    for k in range(3):
        noise(tmp_path / f"photos/{k}.png", k)
    most = {"st_size": 2**63 - 1, "st_ino": 2**64 - 1, "st_mtime_ns": 2**70, "st_ctime_ns": -(2**70)}
    lie(monkeypatch, lambda _true, name: {} if name == "a.png" else most)
    for _ in range(2):
        found = statuses(dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS))
        assert found == {"0.png": "changed", "1.png": "changed", "2.png": "changed", "a.png": "ok"}


# File systems that make up inodes and times


def test_inodes_that_differ_at_each_look_cost_nothing(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4: all files were 'changed', in every run."""
    photos = tmp_path / "photos"
    for k in range(5):
        noise(photos / f"{k}.bmp", k % 4)
    random = np.random.default_rng(1)
    lie(monkeypatch, lambda _true, _name: {"st_ino": int(random.integers(1 << 40))})
    for round_number in range(3):
        run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
        assert_every_row_is_of_its_file(run)
        assert run.summary.duplicates == 1
        assert len(opened) == 5, round_number
    # Another file of the same size and times is not taken for it.
    lie(monkeypatch, lambda true, _name: {"st_ino": int(random.integers(1 << 40)), "st_ctime_ns": true.st_mtime_ns})
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    stamp = (photos / "1.bmp").stat().st_mtime_ns
    noise(photos / "1.bmp", 50)
    os.utime(photos / "1.bmp", ns=(stamp, stamp))
    assert_every_row_is_of_its_file(dupegrid.run(photos, out=tmp_path / "run", **SETTINGS))


@pytest.mark.parametrize("fields", [["st_ctime_ns"], ["st_mtime_ns", "st_ctime_ns"]])
def test_times_that_differ_at_each_look_say_nothing(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, fields: list[str]
) -> None:
    """L4: then the hash says which file it is."""
    photos = tmp_path / "photos"
    for k in range(3):
        noise(photos / f"{k}.bmp", k)
    random = np.random.default_rng(1)
    lie(monkeypatch, lambda _true, _name: {field: int(random.integers(1 << 40)) for field in fields})
    for _ in range(2):
        assert_every_row_is_of_its_file(dupegrid.run(photos, out=tmp_path / "run", **SETTINGS))
        assert len(opened) == 3
    noise(photos / "1.bmp", 50)
    assert_every_row_is_of_its_file(dupegrid.run(photos, out=tmp_path / "run", **SETTINGS))


def test_one_inode_for_all_makes_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L4: equal files are duplicates that take room, whatever folder they are in."""
    photos = tmp_path / "photos"
    for name in ("a.bmp", "b.bmp", "one/c.bmp", "one/two/d.bmp", "three/e.bmp"):
        noise(photos / name, 1)
    stat = os.stat

    def constant(path: object, **options: bool) -> object:
        status = stat(path, **options)
        return Status(status, {"st_ino": 1}) if os.fsdecode(path).startswith(str(photos)) else status

    monkeypatch.setattr(os, "stat", constant)
    lie(monkeypatch, lambda _true, _name: {"st_ino": 1})
    run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert len(run.images) == 5
    assert run.images["link_of"].null_count == run.images["link_kind"].null_count == 5
    assert run.summary.duplicate_bytes == 4 * (photos / "a.bmp").stat().st_size


# Reading for a hash


@pytest.mark.parametrize("kind", ["fifo", "zero", "link", "longer", "gone"])
def test_what_takes_the_place_of_a_listed_file_is_not_read_for_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """H3: opening a pipe waits for ever; /dev/zero never ends."""
    photos = tmp_path / "photos"
    for k in range(3):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    moved = Path(shutil.copy2(photos / "1.bmp", photos / "moved.bmp"))
    (photos / "1.bmp").unlink()

    def listed(*arguments: object) -> Listing:
        listing = discover(*arguments)
        data = moved.read_bytes()
        moved.unlink()
        if kind == "fifo":
            os.mkfifo(moved)
        elif kind == "zero":
            moved.symlink_to("/dev/zero")
        elif kind == "link":
            (tmp_path / "elsewhere.bmp").write_bytes(data)
            moved.symlink_to(tmp_path / "elsewhere.bmp")
        elif kind == "longer":
            moved.write_bytes(data + b"more")
        return listing

    monkeypatch.setattr(sys.modules["dupegrid.app.api"], "discover", listed)
    done: list[dupegrid.Run] = []
    work = threading.Thread(
        target=lambda: done.append(dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)), daemon=True
    )
    work.start()
    work.join(30)
    assert done, "it hangs"
    assert statuses(done[0])["moved.bmp"] in ("changed", "unreadable")
    assert statuses(done[0])["1.bmp"] == "removed"


def test_a_read_that_hangs_is_given_up_and_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """H3: the pool was waited for, whatever signal came."""
    hangs = threading.Event()
    monkeypatch.setattr(hashing, "_hash", lambda path, *_: path == b"well" or hangs.wait())
    files = [(b"well", 1), (b"hangs", 1)]
    assert hashing.hashes_of(files, False, 0.2, lambda _: None) == [True, None]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            hashing.hashes_of(files, False, 600.0, lambda _: None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        hangs.set()


def test_only_files_that_may_be_known_are_read_for_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    hashes_of = hashing.hashes_of

    def watched(files: list, *rest: object) -> object:
        read.extend(os.path.basename(path) for path, _ in files)
        return hashes_of(files, *rest)

    monkeypatch.setattr(hashing, "hashes_of", watched)
    photos = tmp_path / "photos"
    for k in range(4):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    noise(photos / "new.bmp", 9)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert read == []
    (photos / "0.bmp").unlink()
    (photos / "1.bmp").unlink()
    noise(photos / "x.bmp", 10)
    Image.new("RGB", (9, 9)).save(photos / "other-size.bmp")
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert read == [b"x.bmp"]
