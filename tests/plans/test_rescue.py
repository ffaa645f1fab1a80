"""What goes and its keeper lacks is written beside the keeper first: into a new sidecar, once, and undone."""

import hashlib
import os
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import dupegrid
from dupegrid.plans.journal import writing
from tests.conftest import LONG, picture
from tests.helpers.forks import command
from tests.helpers.plans import Faults, state
from tests.images.test_xmp import EXIF, XMP, degrees, parsed

QUIET = {"quiet": True}
EVERY = 1 if LONG else 11


def drawn(path: Path, size: tuple[int, int], date: str = "", rating: int = 0, place: bool = False) -> Path:
    exif = Image.Exif()
    if date:
        exif.get_ifd(0x8769)[0x9003] = date
    if rating:
        exif[0x4746] = rating
    if place:
        exif.get_ifd(0x8825).update({1: "S", 2: (12.0, 30.0, 0.0), 3: "E", 4: (7.0, 15.0, 0.0)})
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(1, (96, 72)).resize(size).save(path, quality=95, exif=exif)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A large picture that says nothing, and two small ones, a rated one with a date and one with a place."""
    drawn(tmp_path / "photos/large.jpg", (192, 144))
    drawn(tmp_path / "photos/rated.jpg", (96, 72), "2011:12:13 14:15:16", rating=4)
    drawn(tmp_path / "photos/placed.jpg", (96, 72), "2012:12:13 14:15:16", place=True)
    return tmp_path / "photos"


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> dupegrid.Run:
    return dupegrid.run(photos, out=tmp_path / "run", thumb=16, keep="pixels", scheduler="sync", **QUIET)


def test_what_is_lost_is_written_beside_the_keeper_and_undone(run: dupegrid.Run, photos: Path) -> None:
    before = state(photos)
    lost = {Path(row["path"]).name: row["lost_metadata"] for row in dupegrid.plan(run).table.to_pylist()}
    assert lost == {"rated.jpg": "date, rating", "placed.jpg": "date, gps"}
    assert dupegrid.apply(run, write_xmp=True, **QUIET).counts == {"done": 3}
    after = state(photos)
    large, sidecar = os.fsencode(photos / "large.jpg"), photos / "large.jpg.xmp"
    assert after[large] == before[large]
    assert {os.path.basename(path) for path in after if b"quarantine" not in path} >= {b"large.jpg", b"large.jpg.xmp"}
    said = parsed(sidecar.read_bytes())
    assert said[f"{EXIF}DateTimeOriginal"] == datetime(2011, 12, 13, 14, 15, 16).isoformat()  # the first of the two
    assert said[f"{XMP}Rating"] == "4"
    assert (degrees(said[f"{EXIF}GPSLatitude"]), degrees(said[f"{EXIF}GPSLongitude"])) == (-12.5, 7.25)
    (written,) = (act for act in dupegrid.journal(run) if act["action"] == "xmp")
    assert (written["path"], written["state"]) == (str(sidecar), "done")
    assert dupegrid.apply(run, write_xmp=True, **QUIET).counts == {"before": 2}
    assert dupegrid.undo(run, **QUIET).counts == {"back": 3}
    assert state(photos) == before


def test_a_dry_run_says_it_once_and_without_the_flag_nothing_is_written(run: dupegrid.Run, photos: Path) -> None:
    before = state(photos)
    dupegrid.plan(run)
    lines = command("apply", run.path, "--dry-run", "--write-xmp").stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["exiftool", "mv", "mv"]
    assert state(photos) == before
    assert dupegrid.apply(run, **QUIET).counts == {"done": 2}
    assert not (photos / "large.jpg.xmp").exists()


@pytest.mark.parametrize("name", ["large.jpg.xmp", "large.xmp", "large.jpg.Xmp"])
def test_a_sidecar_that_is_there_stays_and_so_does_what_would_be_lost(photos: Path, tmp_path: Path, name: str) -> None:
    (photos / name).write_bytes(b"mine")
    run = dupegrid.run(photos, out=tmp_path / "run", thumb=16, keep="pixels", scheduler="sync", **QUIET)
    dupegrid.plan(run)
    before = state(photos)
    found = dupegrid.apply(run, write_xmp=True, **QUIET)
    assert found.counts == {"skipped": 4}
    assert "has a sidecar, which stays as it is" in " ".join(row.reason for row in found.rows)
    assert state(photos) == before


def test_a_rating_in_a_sidecar_that_goes_is_written_too(photos: Path, tmp_path: Path) -> None:
    (photos / "rated.xmp").write_bytes(b'<a xmp:Rating="5"/>')
    run = dupegrid.run(photos, out=tmp_path / "run", thumb=16, keep="pixels", scheduler="sync", **QUIET)
    before = state(photos)
    assert dupegrid.plan(run, keep_metadata=True).totals.kept == {"metadata": 2}
    dupegrid.plan(run)
    assert dupegrid.apply(run, write_xmp=True, **QUIET).counts == {"done": 4}
    assert parsed((photos / "large.jpg.xmp").read_bytes())[f"{XMP}Rating"] == "5"
    assert dupegrid.undo(run, **QUIET).counts == {"back": 4}
    assert state(photos) == before


def test_what_was_changed_since_stays_and_what_was_removed_is_no_trouble(run: dupegrid.Run, photos: Path) -> None:
    before, sidecar = state(photos), photos / "large.jpg.xmp"
    dupegrid.plan(run)
    dupegrid.apply(run, write_xmp=True, **QUIET)
    sidecar.write_bytes(sidecar.read_bytes() + b"<!-- mine -->")
    found = dupegrid.undo(run, **QUIET)
    assert found.counts == {"back": 2, "skipped": 1}
    assert "was changed since it was written" in next(row.reason for row in found.rows if row.outcome == "skipped")
    assert sidecar.exists()
    sidecar.unlink()
    assert dupegrid.undo(run, **QUIET).counts == {"back": 1}
    assert state(photos) == before


def test_it_stays_where_what_it_speaks_for_does_not_come_back(run: dupegrid.Run, photos: Path) -> None:
    """Of what was deleted for good it is all that is left."""
    dupegrid.plan(run, action="delete")
    dupegrid.apply(run, write_xmp=True, delete_for_good=True, **QUIET)
    found = dupegrid.undo(run, **QUIET)
    assert found.counts == {"gone": 2, "skipped": 1}
    assert parsed((photos / "large.jpg.xmp").read_bytes())[f"{XMP}Rating"] == "4"


def test_it_stays_as_long_as_one_of_several_is_away(run: dupegrid.Run, photos: Path) -> None:
    before = state(photos)
    dupegrid.plan(run)
    dupegrid.apply(run, write_xmp=True, **QUIET)
    (written,) = (act["id"] for act in dupegrid.journal(run) if act["action"] == "xmp")
    assert dupegrid.undo(run, photos / "rated.jpg", **QUIET).counts == {"back": 1}
    assert dupegrid.undo(run, action=written, **QUIET).counts == {"skipped": 1}
    assert (photos / "large.jpg.xmp").exists()
    assert dupegrid.undo(run, **QUIET).counts == {"back": 2}
    assert state(photos) == before


@pytest.mark.parametrize("name", ["letter.txt", "large.jpg.xmp"])
def test_no_journal_has_a_file_of_yours_removed(run: dupegrid.Run, photos: Path, name: str) -> None:
    """Not by a name of its own, nor by bytes that are known to whoever wrote it."""
    (photos / name).write_bytes(b"known to others")
    digest = hashlib.blake2b(b"known to others", digest_size=16).hexdigest()
    path, root, keeper = map(os.fsencode, (photos / name, photos, photos / "large.jpg"))
    was = {"hash": digest, "size": 15, "ino": 1, "mtime_ns": 1}
    with writing(run.run_dir) as journal:
        journal.note("meant", "a-1", action="xmp", path=path, root=root, was=was, keeper=keeper, keeper_root=root)
        journal.note("done", "a-1")
    assert dupegrid.undo(run, **QUIET).counts == {"skipped": 1}
    assert (photos / name).read_bytes() == b"known to others"


def test_a_dry_run_says_what_an_apply_does_where_a_unit_is_left(photos: Path, tmp_path: Path) -> None:
    for name in ("rated.xmp", "placed.xmp"):
        (photos / name).write_bytes(b'<a xmp:Rating="5"/>')
    run = dupegrid.run(photos, out=tmp_path / "run", thumb=16, keep="pixels", scheduler="sync", **QUIET)
    dupegrid.plan(run)
    first = next(row.path for row in dupegrid.apply(run, dry_run=True, write_xmp=True, **QUIET).rows[1:])
    Path(first).with_suffix(".xmp").write_bytes(b"changed since")
    dry, real = (dupegrid.apply(run, dry_run=is_dry, write_xmp=True, **QUIET).rows for is_dry in (True, False))
    said = sorted((row.path, row.outcome.replace("would", "done")) for row in dry)
    assert said == sorted((row.path, row.outcome) for row in real)
    assert (str(photos / "large.jpg.xmp"), "done") in said


def test_killed_at_every_call_it_goes_on_and_is_undone(
    run: dupegrid.Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, faults = state(photos), Faults(monkeypatch)
    large = os.fsencode(photos / "large.jpg")
    dupegrid.plan(run)
    apply = partial(dupegrid.apply, run, write_xmp=True, **QUIET)
    for number in faults.at_calls(EVERY, apply):
        assert state(photos)[large] == before[large]
        gone = [name for name in ("rated.jpg", "placed.jpg") if not (photos / name).exists()]
        assert not gone or parsed((photos / "large.jpg.xmp").read_bytes()), "it is written first"
        faults.at_call(number // 2, partial(dupegrid.undo, run, **QUIET))
        apply()
        assert parsed((photos / "large.jpg.xmp").read_bytes())
        dupegrid.undo(run, **QUIET)
        assert state(photos) == before, number
    assert number + EVERY > 12
