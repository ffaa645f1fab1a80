"""Which file is which: stamps that agree, inodes that are used again or made up, links, roots, spellings of paths."""

import hashlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dupegrid
from dupegrid.config import load_config
from dupegrid.errors import DupegridError, InputError
from dupegrid.images import chunk as chunk_module
from dupegrid.images import hashing, layout
from dupegrid.images import index as index_module
from dupegrid.images.discover import Listing, _Walk, discover
from dupegrid.images.merge import merge
from tests.conftest import refuse_listing
from tests.test_resume import by_path

SETTINGS = {"scheduler": "sync", "quiet": True, "thumb": 16}
Opened = list[str]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The names of the files that are decoded."""
    names: Opened = []
    decode_files = chunk_module.decode_files

    def watched(files: list, *rest: object) -> object:
        names.extend(os.path.basename(os.fsdecode(file.path_raw)) for file in files)
        return decode_files(files, *rest)

    monkeypatch.setattr(chunk_module, "decode_files", watched)
    return names


def noise(path: Path, seed: int, mtime_s: int | None = None) -> Path:
    """A picture in a file whose size does not depend on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))
    return path


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


def test_another_mode_or_name_or_place_costs_no_decoding(tmp_path: Path, opened: Opened) -> None:
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
def test_any_time_is_a_row(tmp_path: Path, opened: Opened, mtime_s: int) -> None:
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
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
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
        assert run.summary["duplicates"] == 1
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
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, fields: list[str]
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
    assert run.summary["duplicate_bytes"] == 4 * (photos / "a.bmp").stat().st_size


# Links


@pytest.mark.parametrize("listed", [False, True])
def test_a_link_is_never_kept_over_its_target(tmp_path: Path, listed: bool) -> None:
    """L3: who deletes duplicates would lose the file."""
    photos = tmp_path / "photos"
    noise(photos / "original.png", 1)
    (photos / "a-link.png").symlink_to("original.png")
    (tmp_path / "a-way").symlink_to("photos")
    places: tuple[Path, ...] = (photos,)
    settings: dict[str, object] = {"follow_symlinks": True}
    names = ["a-link.png", "original.png"]
    if listed:
        (tmp_path / "list").write_text(f"{tmp_path}/a-way/original.png\n{photos}/original.png\n")
        places, settings, names = (), {"files_from": tmp_path / "list"}, ["original.png", "original.png"]
    run = dupegrid.run(*places, out=tmp_path / "run", **settings, **SETTINGS)
    rows = run.images.to_pylist()
    assert [os.path.basename(row["path"]) for row in rows] == names
    assert [(row["link_kind"], row["link_of"]) for row in rows] == [("symbolic", 1), (None, None)]
    assert {row["image"]: row["role"] for row in run.clusters.to_pylist()} == {0: "duplicate", 1: "keep"}
    assert run.summary["duplicate_bytes"] == 0


def test_hard_and_symbolic_links_are_told_apart(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    noise(photos / "b.png", 1)
    (photos / "c.png").hardlink_to(photos / "b.png")
    (photos / "a.png").symlink_to("c.png")
    (tmp_path / "far").mkdir()
    noise(tmp_path / "far/z.png", 1)
    (photos / "way").symlink_to(tmp_path / "far")
    run = dupegrid.run(photos, out=tmp_path / "run", follow_symlinks=True, **SETTINGS)
    rows = [(os.path.basename(row["path"]), row["link_kind"], row["link_of"]) for row in run.images.to_pylist()]
    assert rows == [
        ("a.png", "symbolic", 1),
        ("b.png", "hard", None),
        ("c.png", "hard", 1),
        ("z.png", "symbolic", None),
    ]
    assert run.clusters["image"][0].as_py() == 1
    assert dupegrid.run(photos, out=tmp_path / "run", follow_symlinks=True, **SETTINGS).images == run.images


# Paths


@pytest.fixture
def crossing(tmp_path: Path) -> Path:
    """A folder in which link/../pics is real/pics, though pics lies beside link."""
    noise(tmp_path / "real/pics/right.png", 1)
    (tmp_path / "real/inner").mkdir()
    noise(tmp_path / "pics/wrong.png", 2)
    (tmp_path / "link").symlink_to("real/inner")
    return tmp_path


@pytest.mark.parametrize("relative", [False, True])
def test_two_dots_after_a_link_lead_where_the_system_goes(
    crossing: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """M1: in PATH, --against, --out, --ignore-path and --files-from."""
    monkeypatch.chdir(crossing)
    start = "" if relative else f"{crossing}/"
    run = dupegrid.run(f"{start}link/../pics", out=f"{start}link/../run", **SETTINGS)
    assert [os.path.basename(path) for path in run.images["path"].to_pylist()] == ["right.png"]
    assert (crossing / "real/run/run.json").exists()
    (crossing / "list").write_text(f"{start}link/../pics/right.png\n{start}nowhere/../x.png\n")
    listing = discover(load_config(files_from=str(crossing / "list")))
    assert os.fsencode(crossing / "real/pics/right.png") in listing.files["path_raw"].to_pylist()
    assert len(listing.files) == 2
    config = load_config(paths=["pics"], against=[f"{start}link/../pics"], ignore_path=[f"{start}link/../pics"])
    assert config.against == config.ignore_path == (str(crossing / "real/pics"),)


def test_photos_reached_through_a_link_keep_that_name(crossing: Path) -> None:
    (crossing / "way").symlink_to("real")
    listing = discover(load_config(paths=[f"{crossing}/way/./pics/"]))
    assert listing.files["path_raw"].to_pylist() == [os.fsencode(crossing / "way/pics/right.png")]


@pytest.mark.parametrize(
    "refused",
    [
        lambda photos, out: dupegrid.run("s3://bucket/photos", out=out),
        lambda photos, out: dupegrid.run(photos, out="s3://bucket/run"),
        lambda photos, out: dupegrid.run(photos, against="gs://bucket", out=out),
        lambda photos, out: dupegrid.run(files_from="https://host/list", out=out),
        lambda photos, out: dupegrid.run(files_from=photos / "list", out=out),
        lambda photos, out: dupegrid.run("photos\0", out=out),
        lambda photos, out: dupegrid.run(photos, out="run\0"),
        lambda photos, out: dupegrid.run([photos, photos], out=out),
        lambda photos, out: dupegrid.run(photos, out=[out]),
        lambda photos, out: dupegrid.run(5, out=out),
        lambda photos, out: dupegrid.run(f"{photos}/nowhere/../../photos", out=out),
        lambda photos, out: dupegrid.open_run(None),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[Path, Path], object]
) -> None:
    """D3 and more: `--out s3://...` made a folder of that name."""
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "photos/a.png", 1)
    (tmp_path / "photos/list").write_text("photos/a.png\ns3://bucket/a.png\n")
    with pytest.raises(DupegridError) as raised:
        refused(tmp_path / "photos", tmp_path / "run")
    assert raised.value.exit_code == 2
    assert len(str(raised.value).splitlines()) == 1
    assert os.listdir(tmp_path) == ["photos"]


def test_paths_of_bytes_and_thresholds_of_text_are_understood(tmp_path: Path) -> None:
    noise(tmp_path / "photos/\udcff.png", 1)
    noise(tmp_path / "photos/b.png", 1)
    run = dupegrid.run(os.fsencode(tmp_path / "photos"), out=os.fsencode(tmp_path / "run"), **SETTINGS)
    assert run.config.paths == (str(tmp_path / "photos"),)
    assert len(run.at("50").clusters) == 2
    assert dupegrid.cluster(run.path, "20").config.threshold == 20
    assert run.explain(b"\xff.png", os.fsencode(tmp_path / "photos/b.png")).mse["identity"] == 0
    for wrong in ("much", [1]):
        with pytest.raises(DupegridError, match="give a number"):
            run.at(wrong)
        with pytest.raises(DupegridError, match="give a number"):
            dupegrid.cluster(run.path, wrong)


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

    monkeypatch.setattr(sys.modules["dupegrid.run"], "discover", listed)
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
    hashes_of = index_module.hashes_of

    def watched(files: list, *rest: object) -> object:
        read.extend(os.path.basename(path) for path, _ in files)
        return hashes_of(files, *rest)

    monkeypatch.setattr(index_module, "hashes_of", watched)
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


# Roots


def sides_of(run: dupegrid.Run) -> dict[str, tuple[str, str | None]]:
    roots = run.config.roots
    return {
        row["path"]: (roots[row["root"]], row["group"]) for row in run.images.to_pylist() if row["root"] is not None
    }


def test_files_of_a_folder_that_cannot_be_listed_stay_under_their_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W5: roots were kept by number, which changes when a PATH is added or two change places."""
    p, q, s = (tmp_path / name for name in "pqs")
    for k, folder in enumerate((p, q, s)):
        noise(folder / "a.png", k)
        noise(folder / "shut/b.png", 7)
    settings = {"against": s, "out": tmp_path / "run", **SETTINGS}
    before = sides_of(dupegrid.run(p, q, **settings))
    new = noise(tmp_path / "new/c.png", 20)
    refuse_listing(monkeypatch, b"shut")
    swapped = dupegrid.run(q, new.parent, p, **settings)
    assert sides_of(swapped) == before | {str(new): (str(new.parent), "a")}
    across = dupegrid.run(p, q, out=tmp_path / "across", scope="across", **SETTINGS)
    assert sides_of(across) == {str(folder / "a.png"): (str(folder), None) for folder in (p, q)}


def test_removed_files_have_the_root_they_would_be_under_now(tmp_path: Path) -> None:
    p, q = tmp_path / "p", tmp_path / "q"
    for folder in (p, q):
        noise(folder / "a.png", 1)
        noise(folder / "b.png", 2)
    dupegrid.run(p, out=tmp_path / "run", **SETTINGS)
    (p / "b.png").unlink()
    run = dupegrid.run(q, p, out=tmp_path / "run", **SETTINGS)
    assert {path: root for path, (root, _) in sides_of(run).items()}[str(p / "b.png")] == str(p)
    (tmp_path / "list").write_text(f"{q}/a.png\n")
    dupegrid.run(files_from=tmp_path / "list", out=tmp_path / "listed", **SETTINGS)
    run = dupegrid.run(p, out=tmp_path / "listed", **SETTINGS)
    assert {row["path"]: row["root"] for row in run.images.to_pylist()} == {f"{q}/a.png": None, f"{p}/a.png": 0}


@pytest.mark.parametrize(
    "settings",
    [{"extensions": [".png"]}, {"ignore_name": ["sub"]}, {"ignore_path": ["sub"]}, {"follow_symlinks": False}],
)
def test_files_that_the_settings_leave_out_are_told_from_those_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    photos = tmp_path / "photos"
    noise(photos / "a.png", 1)
    monkeypatch.chdir(photos)
    noise(photos / "gone.png", 2)
    noise(photos / "sub/b.bmp", 3)
    noise(tmp_path / "far/c.png", 4)
    (photos / "sub/c.png").symlink_to(tmp_path / "far/c.png")
    first = dupegrid.run(photos, out=tmp_path / "run", **{"follow_symlinks": True}, **SETTINGS)
    (photos / "gone.png").unlink()
    run = dupegrid.run(photos, out=tmp_path / "run", **({"follow_symlinks": True} | settings), **SETTINGS)
    rows = {os.path.basename(row["path"]): row for row in run.images.to_pylist() if row["status"] == "removed"}
    assert rows.pop("gone.png")["error"] is None
    assert rows
    assert all("left out by" in row["error"] for row in rows.values())
    whole = dupegrid.run(photos, out=tmp_path / "run", **{"follow_symlinks": True}, **SETTINGS)
    assert whole.clusters == first.clusters
    assert {row["status"] for row in whole.images.to_pylist() if "gone" not in row["path"]} == {"ok"}


# Chunks


def parts(run_dir: Path) -> int:
    return len(list((run_dir / "index").glob("part-*")))


def test_a_run_that_began_small_has_not_more_files_than_another(tmp_path: Path, opened: Opened) -> None:
    """M2."""
    photos = tmp_path / "photos"
    noise(photos / "0.bmp", 0)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    for many in (40, 400):
        for k in range(many):
            noise(photos / f"{k}.bmp", k)
        opened.clear()
        (photos / "39.bmp").unlink()
        run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    fresh = dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS)
    assert by_path(run) == by_path(fresh)
    assert parts(run.path) <= 2 * parts(fresh.path)
    assert not (run.path / "relaid").exists()
    assert (run.thumbs_of(np.array([0, 5]))[0] == fresh.thumbs_of(np.array([0]))[0]).all()


def test_laying_out_again_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """Killed anywhere in it: nothing is decoded twice or lost, a row that cannot be made again neither."""
    photos, whole = tmp_path / "photos", tmp_path / "whole"
    for k in range(10):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=whole, **SETTINGS)
    (photos / "3.bmp").unlink()
    before = dupegrid.run(photos, out=whole, **SETTINGS)
    rows = before.images
    monkeypatch.setattr(index_module, "chunk_size", lambda *_: 16)
    noise(photos / "new.bmp", 50)
    for stop_at in range(1000):
        opened.clear()
        out = tmp_path / f"run{stop_at}"
        shutil.copytree(whole, out)
        with monkeypatch.context() as patch:
            steps = iter(range(1000))
            for name in ("remove", "write_table", "write_thumbs", "create_stores"):
                patch.setattr(layout, name, stopping(getattr(layout, name), steps, stop_at))
            patch.setattr(os, "replace", stopping(os.replace, steps, stop_at))
            patch.setattr(index_module, "merge", lambda *args: (patch.undo(), merge(*args))[1])
            try:
                dupegrid.run(photos, out=out, **SETTINGS)
                finished = True
            except KeyboardInterrupt:
                finished = False
        monkeypatch.setattr(index_module, "chunk_size", lambda *_: 16)
        again = dupegrid.run(photos, out=out, **SETTINGS)
        assert opened == ["new.bmp"], stop_at
        assert again.images.slice(0, 10) == rows
        assert_every_row_is_of_its_file(again)
        assert parts(out) == 1
        assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
        if finished:
            break
    assert stop_at > 20


def stopping(act: Callable[..., object], steps: Iterator[int], stop_at: int) -> Callable[..., object]:
    """A function that stops the run before or after it has acted, at the step with this number."""

    def call(*arguments: object, **options: object) -> object:
        if next(steps) == stop_at:
            raise KeyboardInterrupt
        result = act(*arguments, **options)
        if next(steps) == stop_at:
            raise KeyboardInterrupt
        return result

    return call


def test_chunks_stay_countable() -> None:
    """A million photos of 3 MB were 1.5 million files."""
    for images, size in ((1_000_000, 3_000_000), (100_000, 50_000_000), (8_000_000, 10)):
        assert images / index_module.chunk_size(images, images * size) <= 16_384
    assert index_module.chunk_size(100, 100 * 20_000_000) == 4
    assert index_module.chunk_size(20_000_000, 1) == 512


def test_lines_of_a_list_that_are_addresses_are_refused(tmp_path: Path) -> None:
    """D3."""
    (tmp_path / "list").write_text("s3://bucket/a.png\n")
    with pytest.raises(InputError, match="only folders and files of this machine"):
        discover(load_config(files_from=str(tmp_path / "list")))
