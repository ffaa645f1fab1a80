"""tests/FAULTS.md is whole and true to the tests it names; and the tests of faults that belong to no other file."""

import base64
import errno
import gc
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms

import dupegrid
from dupegrid.app.command import cli
from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.images import chunk as chunk_module
from dupegrid.images import index as index_module
from dupegrid.images import recipe, sandbox
from dupegrid.images.opening import OpenedFile
from dupegrid.images.recipe import Reading, decode, decode_file
from dupegrid.pairs import compare as compare_module
from dupegrid.storage.files import read_json, write_json
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import read_table, write_table
from tests.conftest import ROOT, draw_tree, noise, picture, refuse_listing, save
from tests.helpers.forks import FORKING, started
from tests.helpers.pages import Page, assert_harmless
from tests.helpers.rows import known_tests
from tests.images.test_thumbnail import encoded, mse, thumb

SETTINGS = {"scheduler": "sync", "quiet": True, "thumb": 16}
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Calls the command in this process: arguments -> exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dupegrid", *map(str, words)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr(cli, "_wake_at_signals", lambda: None)
        monkeypatch.setattr(cli, "_leave", sys.exit)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return (stopped.value.code or 0, *capsys.readouterr())

    return call


# The table


def rows() -> list[tuple[int, str, str]]:
    """(number, what dupegrid does, tests) of each row."""
    lines = re.findall(r"^\| *(\d+) *\|(.*)\|$", (ROOT / "tests/FAULTS.md").read_text(), re.MULTILINE)
    cells = [(int(number), rest.split("|")) for number, rest in lines]
    assert all(len(rest) == 3 for _, rest in cells), "a row has four cells"
    return [(number, rest[1].strip(), rest[2].strip()) for number, rest in cells]


def test_every_fault_has_one_row_with_tests_that_exist_or_the_reason_why_not() -> None:
    known = known_tests()
    assert [number for number, _, _ in rows()] == list(range(1, 76))
    for number, does, tests in rows():
        named = re.findall(r"`([^`]+)`", tests)
        assert does, number
        assert set(named) <= known, (number, set(named) - known)
        assert named or re.match(r"not yet: \w+", tests), number


# Input files


def test_what_is_no_whole_picture_is_in_no_cluster(tmp_path: Path) -> None:
    """Empty files are not duplicates of each other; a broken one with more pixels is not kept over a whole one."""
    photos = tmp_path / "photos"
    for name in ("a.png", "b.png"):
        save(photos / name, 1)
    for name in ("empty1.jpg", "empty2.jpg"):
        (photos / name).touch()
    picture(1, (960, 720)).save(large := io.BytesIO(), "JPEG", quality=95)
    for name in ("large1.jpg", "large2.jpg"):
        (photos / name).write_bytes(large.getvalue()[:-5000])
    run = dupegrid.run(photos, out=tmp_path / "run", threshold=300, **SETTINGS)
    assert run.images["status"].to_pylist() == ["ok"] * 2 + ["empty"] * 2 + ["truncated"] * 2
    assert [(row["image"], row["role"]) for row in run.clusters.to_pylist()] == [(0, "keep"), (1, "duplicate")]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.svg", "a"])
def test_what_a_file_holds_decides_and_its_row_says_it(tmp_path: Path, name: str) -> None:
    save(tmp_path / "photos" / name, 1, format="JPEG")
    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert [(row["status"], row["format"]) for row in run.images.to_pylist()] == [("ok", "JPEG")]


def test_no_program_is_started_for_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    photos, programs = tmp_path / "photos", tmp_path / "programs"
    photos.mkdir()
    programs.mkdir()
    for name in ("gs", "gswin64c", "wmf2svg", "convert", "magick", "xdg-open"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> '{tmp_path}/STARTED'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    picture(1).save(photos / "a.eps")
    picture(1).save(photos / "b.pdf")
    (photos / "c.wmf").write_bytes(b"\xd7\xcd\xc6\x9a\0\0" + bytes(100))
    (photos / "d.fits").write_bytes(b"SIMPLE  =                    T".ljust(2880))
    (photos / "e.mic").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    run = dupegrid.index(photos, out=tmp_path / "run", **SETTINGS)
    assert run.images["status"].to_pylist() == ["unsupported"] * 3 + ["unidentified"] * 2
    assert not (tmp_path / "STARTED").exists()


def test_a_drone_photo_of_two_frames_is_read() -> None:
    mpo = encoded(picture(1), "MPO", save_all=True, append_images=[picture(2)], quality=95)
    decoded = decode(mpo, Reading(32))
    assert (decoded.status, decoded.format, decoded.frames) == ("ok", "MPO", 2)
    assert decoded.thumb is not None
    assert mse(decoded.thumb, thumb(picture(1))) < 4


def test_an_inverted_cmyk_jpeg_looks_like_its_rgb_twin() -> None:
    """Pillow writes CMYK as Adobe does."""
    cmyk = picture(4, (128, 96)).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data
    decoded = decode(data, Reading(32))
    assert decoded.thumb is not None
    assert mse(decoded.thumb, thumb(cmyk.convert("RGB"))) <= 2


def test_a_colour_profile_changes_nothing_and_the_picture_with_it_is_kept(tmp_path: Path) -> None:
    """decisions/0005."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, more in (("a.png", {}), ("b.png", {"icc_profile": profile})):
        save(tmp_path / "photos" / name, 1, **more)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert run.matches["sse"].to_pylist() == [0]
    assert {row["image"]: row["role"] for row in run.clusters.to_pylist()} == {0: "duplicate", 1: "keep"}
    assert {row["image"]: row["rule"] for row in run.clusters.to_pylist()} == {0: "icc", 1: None}
    assert run.images["has_icc"].to_pylist() == [False, True]


BROKEN_EXIF = [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" * 9]


def test_broken_exif_costs_no_picture(tmp_path: Path) -> None:
    for number, exif in enumerate(BROKEN_EXIF):
        for ending in ("jpg", "png", "webp"):
            save(tmp_path / f"photos/{number}.{ending}", 1, exif=exif)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert run.images["status"].to_pylist() == ["ok"] * 12
    assert run.images["exif_orientation"].to_pylist() == [1] * 12
    assert run.summary.duplicates == 11


def test_a_crowd_of_near_pictures_is_a_row_each_on_a_page_that_stays_small(tmp_path: Path) -> None:
    """The pairs are all listed, n^2 of them, as each is another; the clusters and the page do not grow so."""
    (tmp_path / "photos").mkdir()
    for k in range(60):
        pixels = 100 + np.random.default_rng(k).integers(0, 9, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{k:02d}.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert len(run.matches) == 60 * 59 // 2
    assert len(run.clusters) == 60
    page = Page.of(run.path)
    assert len(page.paths) == len(page.thumbnails) == 60
    assert [tag for tag, _ in page.elements].count("img") <= 40  # of what is drawn where no script runs


# File system


@pytest.fixture
def bound() -> Iterator[Callable[[Path, Path], None]]:
    """Makes a place show another one, by a bind mount; skips where that is not allowed."""
    places: list[Path] = []

    def bind(what: Path, place: Path) -> None:
        done = subprocess.run(["mount", "--bind", what, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("bind mounts are not allowed here")
        places.append(place)

    yield bind
    for place in places:
        subprocess.run(["umount", place], check=True)


def test_a_folder_that_is_bound_elsewhere_too_is_listed_once(tmp_path: Path, bound: Callable) -> None:
    photos = tmp_path / "photos"
    save(photos / "one/a.png", 1)
    (photos / "two").mkdir()
    bound(photos / "one", photos / "two")
    assert os.listdir(photos / "two") == ["a.png"]
    run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert len(run.images) == 1


def test_a_file_that_is_bound_elsewhere_too_shows_one_device_and_inode(tmp_path: Path, bound: Callable) -> None:
    """It has one name by its own account, as files have where inodes are made up: so it is no link."""
    photos = tmp_path / "photos"
    save(photos / "a.png", 1)
    (photos / "b.png").touch()
    bound(photos / "a.png", photos / "b.png")
    run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    first, second = run.images.to_pylist()
    assert (first["device"], first["inode"]) == (second["device"], second["inode"])
    assert first["file_hash"] == second["file_hash"]
    assert second["link_of"] is None


def refusing(code: int) -> str:
    """The start of a decoding process to which the system refuses b.png."""
    refuse = f"""
import os
os_open = os.open
def refuse(path, *rest, **more):
    if os.fsencode(path).endswith(b"b.png"):
        raise OSError({code}, os.strerror({code}))
    return os_open(path, *rest, **more)
os.open = refuse
"""
    return sandbox._START.replace("serve()\n", refuse + "serve()\n", 1)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ELOOP])
def test_what_cannot_be_opened_is_counted_and_tried_again(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The exit code is 0 all the same, as README says; standard output and the tables have the counts."""
    for name in ("a.png", "b.png", "in/c.png"):
        save(tmp_path / "photos" / name, 1)
    words = ("run", tmp_path / "photos", "--out", tmp_path / "run", "--thumb", 16)
    with monkeypatch.context() as trouble:
        trouble.setattr(sandbox, "_idle", [])
        trouble.setattr(sandbox, "subprocess", FORKING)
        trouble.setattr(sandbox, "_START", refusing(code))
        refuse_listing(trouble, b"in")
        ended, out, _ = command(*words)
        sandbox._close_idle()
    assert ended == 0
    assert "2 found, 1 picture read; not read: 1 unreadable" in out
    assert "folders     1 not listed" in out
    run = dupegrid.open_run(tmp_path / "run")
    assert [row["error"] for row in run.images.to_pylist() if row["status"] == "unreadable"] == [os.strerror(code)]
    assert run.receipt.unreadable_folders == [str(tmp_path / "photos/in")]
    assert command(*words)[0] == 0
    assert dupegrid.open_run(tmp_path / "run").images["status"].to_pylist() == ["ok"] * 3


def test_a_file_that_cannot_be_read_to_its_end_leaves_no_thumbnail() -> None:
    """The memory of a process is a file whose read gives EIO."""
    decoded = decode_file(OpenedFile(b"/proc/self/mem"), 0, 0, Reading(32))
    assert (decoded.status, decoded.error, decoded.thumb) == ("unreadable", os.strerror(errno.EIO), None)


def test_a_file_that_grows_while_it_is_read_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", 1)

    def grow(_file: object) -> bool:
        with open(path, "ab") as file:
            file.write(b"more")
        return True

    monkeypatch.setattr(recipe, "_READ_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(recipe, "_is_picture", grow)
    decoded = decode_file(OpenedFile(os.fsencode(path)), path.stat().st_size, path.stat().st_mtime_ns, Reading(32))
    assert (decoded.status, decoded.error) == ("changed", "the file changed while it was read")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    folder = tmp_path_factory.mktemp("whole")
    return dupegrid.run(draw_tree(folder / "tree"), out=folder / "run", **SETTINGS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EINVAL])
@pytest.mark.parametrize("at", [1, 2, 4, 8])
def test_a_disk_that_takes_no_more_is_one_line_and_the_run_goes_on_later(
    whole: dupegrid.Run, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, code: int, at: int
) -> None:
    """Full, over quota, at a limit of files, read-only, broken, or one that cannot flush (EINVAL)."""
    flushes = 0

    def fsync(_descriptor: int) -> None:
        nonlocal flushes
        flushes += 1
        if flushes >= at:
            raise OSError(code, os.strerror(code))

    words = ("run", *whole.config.paths, "--out", tmp_path / "run", "--scheduler", "sync", "--thumb", 16)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        ended, out, err = command(*words)
    said = [line for line in err.splitlines() if line.startswith("dupegrid: ")]
    assert (out, len(said)) == ("", 1)
    assert ended in (1, 2)  # 2 where it is run.json, which a run writes first
    assert os.strerror(code) in said[0]
    assert "Traceback" not in err
    # What may pass is tried twice more, and then what is missing is noted.
    more = 3 if code in (errno.EIO, errno.EINVAL) and at > 1 else 0
    assert at <= flushes <= at + more, "nothing is written after that"
    assert command(*words)[0] == 0
    run = dupegrid.open_run(tmp_path / "run")
    assert (run.images, run.matches, run.clusters) == (whole.images, whole.matches, whole.clusters)


@pytest.mark.slow
def test_runs_leave_no_file_open(image_tree: Path, tmp_path: Path) -> None:
    opened = []
    for k in range(9):
        noise(image_tree / f"more/{k}.png", k)
        dupegrid.run(image_tree, out=tmp_path / "run", tile=8, **SETTINGS)
        dupegrid.open_run(tmp_path / "run").summary  # noqa: B018
        gc.collect()  # loops of threads that have ended are circles, and tests look for these rarely
        opened.append(len(os.listdir("/proc/self/fd")))
    assert opened[-1] <= opened[2], opened


# Processes, stores, names


def twice(task: Callable, done: list[Callable]) -> Callable:
    """A task that is done by two workers at once."""

    def call(*arguments: object) -> object:
        done.append(task)
        with ThreadPoolExecutor(2) as pool:
            return next(iter(pool.map(lambda _: task(*arguments), range(2))))

    return call


def test_tasks_that_are_done_twice_at_once_change_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "tile": 8}
    done: list[Callable] = []
    once = dupegrid.run(pictures, out=tmp_path / "once", **settings)
    monkeypatch.setattr(index_module, "index_chunk", twice(index_module.index_chunk, done))
    monkeypatch.setattr(compare_module, "compare_tile", twice(compare_module.compare_tile, done))
    run = dupegrid.run(pictures, out=tmp_path / "run", **settings)
    assert len(done) > 15
    assert len(run.matches) > 10
    assert (run.images, run.matches, run.clusters) == (once.images, once.matches, once.clusters)
    assert run.receipt == once.receipt
    assert not list(run.path.rglob(".*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_run_though_the_first_is_still_seen_to(
    image_tree: Path, tmp_path: Path, number: int, code: int
) -> None:
    script = f"""
import os, pathlib, time
import dupegrid.app.command.cli, dupegrid.images.chunk as chunk
folder, truncate = pathlib.Path({str(tmp_path)!r}), os.ftruncate
def decode_files(*_):
    (folder / "at-work").touch()
    time.sleep(60)
def ftruncate(*given):
    if (folder / "at-work").exists():
        (folder / "leaving").touch()
        time.sleep(60)
    truncate(*given)
chunk.decode_files, os.ftruncate = decode_files, ftruncate
dupegrid.app.command.cli.main()
"""
    words = ["run", image_tree, "--out", tmp_path / "run", "--scheduler", "sync"]
    with started(script, *words, err=tmp_path / "said") as process:
        for name in ("at-work", "leaving"):
            while not (tmp_path / name).exists():
                assert process.is_alive()
                time.sleep(0.02)
            os.kill(process.pid, number)
        process.join(30)
        assert process.exitcode == code
    assert "Traceback" not in (tmp_path / "said").read_text()
    run = dupegrid.run(image_tree, out=tmp_path / "run", quiet=True)
    assert len(run.matches) == 1


def test_thumbnails_of_other_decoders_are_told_of_and_made_anew_on_demand(
    image_tree: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    with monkeypatch.context() as older:
        for module in (chunk_module, index_module):
            older.setattr(module, "DECODERS", "Pillow 9.0, pillow-heif 0.1")
        dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    opened.clear()
    words = ("run", image_tree, "--out", tmp_path / "run", "--scheduler", "sync", "--thumb", 16)
    _, _, err = command(*words)
    assert "some thumbnails were made by Pillow 9.0, pillow-heif 0.1, not by" in err
    assert opened == []
    _, _, err = command(*words, "--decode-again")
    assert "Pillow 9.0" not in err
    assert len(opened) == 5


def test_a_run_directory_that_was_moved_goes_on(image_tree: Path, tmp_path: Path, opened: list[str]) -> None:
    before = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    tables = before.images, before.matches, before.clusters
    before.path.rename(tmp_path / "moved")
    opened.clear()
    run = dupegrid.open_run(tmp_path / "moved")
    assert (run.images, run.matches, run.clusters) == tables
    run = dupegrid.run(image_tree, out=tmp_path / "moved", **SETTINGS)
    assert (run.images, run.matches, run.clusters) == tables
    assert opened == []


def test_photos_that_were_moved_are_known_and_those_left_out_are_named(
    image_tree: Path, tmp_path: Path, opened: list[str]
) -> None:
    before = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunDirError, match=re.escape(f"name {image_tree} again")):
        dupegrid.run(tmp_path / "other", out=tmp_path / "run", **SETTINGS)
    image_tree.rename(tmp_path / "moved")
    opened.clear()
    run = dupegrid.run(tmp_path / "moved", out=tmp_path / "run", **SETTINGS)
    assert set(opened) <= {"broken.jpg", "notes.txt"}  # what could not be read is tried again
    hashes = [
        {row["id"]: row["file_hash"] for row in of.images.to_pylist() if row["status"] == "ok"} for of in (run, before)
    ]
    assert hashes[0] == hashes[1] != {}
    assert run.matches.select(["a", "b", "sse"]) == before.matches.select(["a", "b", "sse"])


@pytest.mark.parametrize(("format", "said"), [(99, "newer dupegrid .format 99.: upgrade"), (1, "older dupegrid")])
def test_a_run_of_another_format_is_refused_and_left_as_it_is(
    image_tree: Path, tmp_path: Path, format: int, said: str
) -> None:
    run = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    write_json(run.path / "run.json", {**read_json(run.path / "run.json"), "format": format})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for act in (
        lambda: dupegrid.open_run(run.path),
        lambda: dupegrid.compare(run.path, quiet=True),
        lambda: dupegrid.run(image_tree, out=run.path, **SETTINGS),
    ):
        with pytest.raises(RunDirError, match=said):
            act()
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_table_that_is_not_written_to_its_end_leaves_the_one_before(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.parquet"
    table = dupegrid.index(image_tree, out=tmp_path / "run", **SETTINGS).images
    write_table(path, table)

    begun = pq.ParquetWriter.write_table

    def half(writer: pq.ParquetWriter, rows: pa.Table, *options: object) -> None:
        begun(writer, rows.slice(0, len(rows) // 2), *options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        write_table(path, table.slice(1))
    assert read_table(path, IMAGES) == table
    assert sorted(os.listdir(tmp_path)) == ["images.parquet", "run", "tree"]


def test_a_reader_beside_a_run_sees_old_tables_or_new_ones_or_is_told(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each moment when a file takes its place. Of matches there may be a part, while they are made."""
    settings = {**SETTINGS, "out": tmp_path / "run", "tile": 8}
    old = dupegrid.run(pictures, orientations="none", cutoff=100.0, **settings)
    fresh = dupegrid.run(pictures, orientations="all", cutoff=900.0, **{**settings, "out": tmp_path / "fresh"})
    of_old, of_new = ([row.items() for row in run.matches.to_pylist()] for run in (old, fresh))
    clusters, replace, seen = (old.clusters, fresh.clusters), os.replace, []

    def watched(*given: object) -> None:
        replace(*given)
        try:
            found = [row.items() for row in dupegrid.open_run(tmp_path / "run").matches.to_pylist()]
            assert found == of_old or all(row in of_new for row in found)
            assert dupegrid.open_run(tmp_path / "run").clusters in clusters
            seen.append("read")
        except DupegridError:
            seen.append("told")

    monkeypatch.setattr(os, "replace", watched)
    dupegrid.run(pictures, orientations="all", cutoff=900.0, **settings)
    assert {"read", "told"} <= set(seen)


def test_the_report_runs_no_script_but_ours(image_tree: Path, tmp_path: Path) -> None:
    page = Page.of(dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS).path)
    assert_harmless(page)
    policy = next(values["content"] for _, values in page.elements if "http-equiv" in values)
    hashed = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{hashed}'; style-src 'sha256-" in policy
    assert "img-src data: file:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'" in policy


def test_json_of_hostile_names_is_plain_and_valid(tmp_path: Path, command: Command) -> None:
    name = b"\x1b]0;title\x07\n\xe2\x80\xaegpj\xe2\x80\x8b \xff.jpg"
    (tmp_path / "photos").mkdir()
    with open(os.fsencode(tmp_path / "photos") + b"/" + name, "wb") as file:
        file.write(b"no picture")
    ended, _, err = command("run", tmp_path / "photos", "--out", tmp_path / "run", "--json")
    assert ended == 0
    assert all(line.isprintable() for line in err.splitlines())
    _, out, _ = command("status", tmp_path / "run", "--json")
    assert out.isascii()
    assert all(line.isprintable() for line in out.splitlines())
    (failure,) = json.loads(out)["failures"]
    assert failure["path"].endswith("\x1b]0;title\x07\n\u202egpj\u200b \\xff.jpg")
    _, out, _ = command("status", tmp_path / "run")
    assert all(line.isprintable() for line in out.splitlines())
    assert sum("gpj" in line for line in out.splitlines()) == 1
