"""apply and undo: every action, on two file systems; what is not as it was; what is refused; what is killed."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from PIL import Image

import dupegrid
from dupegrid.app.command import verbs_act
from dupegrid.core.errors import DupegridError, RunDirError, StoreError, UsageError
from dupegrid.plans import checked, copies, deeds, roots, trash
from dupegrid.plans.actions import Placing, acts_of
from dupegrid.plans.apply import Care, apply_acts
from dupegrid.plans.intact import facts_of
from dupegrid.plans.journal import writing
from dupegrid.storage.schemas import PLAN
from tests.conftest import LONG, elsewhere, picture, save
from tests.helpers.forks import command
from tests.helpers.plans import Faults, file_hash, plan_rows, planned, sidecar, state, trash_in, write_plan

ACTIONS = ("quarantine", "trash", "delete", "hardlink", "symlink")
QUIET = {"quiet": True}


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk: what file systems do is the point of these tests."""
    return disk_path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of which two are copies of others, and one a near duplicate; and their run, of paths that will be."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    for name, seed in (("a/one.png", 1), ("b/same.png", 1), ("b/two.png", 2), ("c/copy of two.png", 2), ("c/x.png", 3)):
        save(folder / name, seed)
    save(folder / "c/near.jpg", 3, quality=95)
    os.chmod(folder / "c/copy of two.png", 0o600)
    os.utime(folder / "c/copy of two.png", ns=(1_000_000_007, 1_000_000_007))
    return folder


def made(drawn: Path, folder: Path) -> dupegrid.Run:
    shutil.copytree(drawn, folder / "photos")
    return dupegrid.run(folder / "photos", out=folder / "run", thumb=16, scheduler="sync", **QUIET)


@pytest.fixture
def run(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dupegrid.Run:
    trash_in(tmp_path, monkeypatch)
    return made(drawn, tmp_path)


@pytest.fixture(params=["disk", "memory"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the disk, and one on a tmpfs."""
    trash_in(tmp_path, monkeypatch)
    if request.param == "disk":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=elsewhere(tmp_path)) as folder:
        yield Path(folder)


def photos(run: dupegrid.Run) -> Path:
    return run.path.parent / "photos"


def reasons(found: object) -> dict[str, str | None]:
    return {Path(row.path).name: row.reason for row in found.rows if row.outcome not in ("done", "back", "would")}


def test_every_action_and_back_on_two_file_systems(drawn: Path, somewhere: Path) -> None:
    run = made(drawn, somewhere)
    for action in (*ACTIONS, "reflink"):
        before = state(photos(run))
        rows = [row for row in plan_rows(run, action) if action in ("quarantine", "trash", "delete") or _equal(row)]
        write_plan(run, rows)
        would = dupegrid.apply(run, dry_run=True, **QUIET)
        assert state(photos(run)) == before
        assert would.counts == {"would": len(rows)}
        found = dupegrid.apply(run, delete_for_good=True, **QUIET)
        if action == "reflink" and found.counts == {"skipped": len(rows)}:
            assert "cannot share blocks" in found.rows[0].reason
            assert state(photos(run)) == before
            continue
        assert found.counts == {"done": len(rows)}
        assert [row.action for row in found.rows] == [row.action for row in would.rows]
        for row in rows:
            path, keeper = (Path(os.fsdecode(row[name])) for name in ("path_raw", "keeper_path_raw"))
            assert file_hash(keeper) == row["keeper_file_hash"]
            assert path.is_symlink() == (action == "symlink")
            assert path.exists() == (action in ("hardlink", "symlink", "reflink"))
            assert not path.exists() or path.samefile(keeper) or action == "reflink"
        assert dupegrid.apply(run, delete_for_good=True, **QUIET).counts == {"before": len(rows)}
        back = dupegrid.undo(run, last=True, **QUIET)
        if action == "delete":
            assert back.counts == {"gone": len(rows)}
            for row in rows:
                shutil.copy2(drawn / os.path.relpath(row["path"], photos(run)), row["path"])
        else:
            assert back.counts == {"back": len(rows)}
        assert state(photos(run)) == before
    states = {(act["action"], act["state"]) for act in dupegrid.journal(run)}
    assert states >= {("quarantine", "undone"), ("trash", "undone"), ("delete", "done"), ("symlink", "undone")}


def _equal(row: dict[str, object]) -> bool:
    return row["file_hash"] == row["keeper_file_hash"]


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "modified": (lambda drop, _: drop.write_bytes(drop.read_bytes() + b"x"), "has changed"),
    "same size and time": (lambda drop, _: _rewritten(drop), "other bytes"),
    "gone": (lambda drop, _: drop.unlink(), "not there any more"),
    "a link": (lambda drop, keeper: (drop.unlink(), drop.symlink_to(keeper)), "is a link"),
    "a folder": (lambda drop, _: (drop.unlink(), drop.mkdir()), "is a link, a folder"),
    "a pipe": (lambda drop, _: (drop.unlink(), os.mkfifo(drop)), "is a link, a folder"),
    "its folder a link": (lambda drop, _: _folder_swapped(drop), "a link or no folder"),
    "keeper gone": (lambda _, keeper: keeper.unlink(), "the picture to keep is not there"),
    "keeper modified": (
        lambda _, keeper: keeper.write_bytes(keeper.read_bytes()[:-9]),
        "the picture to keep has changed",
    ),
    "keeper damaged": (lambda _, keeper: _rewritten(keeper), "the picture to keep holds other bytes"),
    "keeper a link": (lambda drop, keeper: (keeper.unlink(), keeper.symlink_to(drop)), "the picture to keep is a link"),
    "keeper is drop": (
        lambda drop, keeper: (keeper.unlink(), os.link(drop, keeper)),
        "the picture to keep has changed",
    ),
}


def _rewritten(path: Path) -> None:
    """Other bytes of the same size, under the same time."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _folder_swapped(drop: Path) -> None:
    drop.parent.rename(drop.parent.with_name("elsewhere"))
    drop.parent.symlink_to("elsewhere")


def test_what_is_not_as_it_was_is_left_alone_with_its_reason(drawn: Path, tmp_path: Path) -> None:
    run = made(drawn, tmp_path)
    for place, (name, (change, expected)) in enumerate(CHANGES.items()):
        if place:  # the same photos under other inodes
            shutil.rmtree(photos(run))
            (run.path / "journal.jsonl").unlink()
            shutil.copytree(drawn, photos(run))
        rows = planned(run, ("quarantine", "delete")[place % 2])
        (row,) = [row for row in rows if "copy of two" in row["path"]]
        drop, keeper = Path(row["path"]), Path(row["keeper_path"])
        change(drop, keeper)
        before = state(photos(run))
        would = dupegrid.apply(run, dry_run=True, **QUIET)
        found = dupegrid.apply(run, delete_for_good=True, **QUIET)
        assert reasons(found) == reasons(would)
        assert expected in reasons(found)[drop.name], name
        assert found.counts.get("missing", 0) == (name == "gone")
        after = state(photos(run))
        gone = {os.fsencode(other["path"]) for other in rows if os.path.basename(other["path"]) not in reasons(found)}
        kept = {path: entry for path, entry in after.items() if b".dupegrid" not in path}
        assert kept == {path: entry for path, entry in before.items() if path not in gone}, name


def test_the_same_bytes_under_another_inode_or_time_of_change_are_the_same(run: dupegrid.Run) -> None:
    rows = planned(run)
    for row in rows:
        path, other = Path(row["path"]), Path(row["path"] + ".new")
        shutil.copy2(path, other)
        other.rename(path)
        os.chmod(row["keeper_path"], 0o640)
    assert dupegrid.apply(run, **QUIET).counts == {"done": len(rows)}


def edits(run: dupegrid.Run) -> dict[str, tuple[Callable[[list[dict[str, object]]], object], str]]:
    """What hands make of a plan, and what is said of it."""
    images = {Path(row["path"]).name: row for row in run.images.to_pylist()}

    def onto(rows: list[dict[str, object]], name: str) -> None:
        rows[0].update(
            {key: images[name][key] for key in rows[0].keys() & images[name].keys()}, image=images[name]["id"]
        )

    def moved(rows: list[dict[str, object]], path: bytes) -> None:
        rows[0].update(path_raw=path, path=os.fsdecode(path))

    def reversed_too(rows: list[dict[str, object]]) -> None:
        row, swapped = rows[0], dict(rows[0])
        for name in ("path", "path_raw", "size_bytes", "mtime_ns", "ctime_ns", "device", "inode", "file_hash"):
            swapped[name], swapped[f"keeper_{name}"] = row[f"keeper_{name}"], row[name]
        swapped.update(image=row["keeper"], keeper=row["image"])
        rows.append(swapped)

    return {
        "a whole cluster": (reversed_too, "is the one to keep|is to be kept"),
        "a keeper": (lambda rows: onto(rows, "one.png"), "is the one to keep|is to be kept"),
        "a picture in no cluster": (lambda rows: rows[0].update(image=images["broken.jpg"]["id"]), "is not the image"),
        "another keeper": (lambda rows: rows[0].update(keeper=rows[1]["keeper"]), "its keeper is not"),
        "outside": (lambda rows: moved(rows, b"/etc/passwd"), "lies in no folder"),
        "out by ..": (lambda rows: moved(rows, os.fsencode(photos(run)) + b"/../x.png"), "lies in no folder"),
        "a file of no row": (lambda rows: moved(rows, os.fsencode(photos(run)) + b"/new.png"), "is not the image"),
        "twice": (lambda rows: rows.append(dict(rows[0])), "is in it twice"),
        "an action": (lambda rows: rows[0].update(action="shred"), "'shred'"),
        "a time": (lambda rows: rows[0].update(mtime_ns=1), "of another moment"),
        "a link of near ones": (
            lambda rows: [row.update(action="hardlink") for row in rows if not _equal(row)],
            "not equal to its keeper",
        ),
        "no path": (lambda rows: rows[0].update(path_raw=None), "without a path"),
        "no paths": (lambda rows: [row.update(path_raw=None) for row in rows], "without a path"),
        "companion": (lambda rows: rows[0].update(goes_with=rows[1]["image"]), "not named after"),
        "companion of none": (lambda rows: rows[0].update(goes_with=10**9), "goes with a picture to which"),
    }


def test_a_plan_that_was_edited_is_refused_by_name_before_anything_moves(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "_AT_ONCE", 2)
    shutil.copytree(drawn, tmp_path / "photos")
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (tmp_path / "photos/c/over.png").symlink_to("../a/one.png")
    run = dupegrid.run(
        tmp_path / "photos", out=tmp_path / "run", thumb=16, scheduler="sync", follow_symlinks=True, **QUIET
    )
    before = state(photos(run))
    for name, (edit, expected) in edits(run).items():
        rows = [row for row in plan_rows(run) if row["action"] != "keep" and "over.png" not in row["path"]]
        edit(rows)
        write_plan(run, rows)
        with pytest.raises(UsageError, match=expected) as refused:
            dupegrid.apply(run, **QUIET)
        assert "nothing was done" in str(refused.value) or name.startswith("no path")
        assert state(photos(run)) == before
    planned(run)
    with pytest.raises(UsageError, match=r"over\.png is a symbolic link"):
        dupegrid.apply(run, **QUIET)
    rows = [row for row in plan_rows(run) if "over.png" not in row["path"]]
    dupegrid.cluster(run, protect=[photos(run) / "c"])  # which takes a plan of other clusters away
    write_plan(run, rows)
    with pytest.raises(UsageError, match="is protected"):
        dupegrid.apply(run, **QUIET)
    assert state(photos(run)) == before
    (run.path / "plan.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(StoreError, match="dupegrid plan"):
        dupegrid.apply(run, **QUIET)


def test_a_sidecar_goes_with_its_picture_or_stays_with_it(run: dupegrid.Run) -> None:
    (first, *_), folder = (row for row in plan_rows(run) if "same" in row["path"]), photos(run)
    beside = folder / "b/same.png.xmp"
    beside.write_text("<x/>")
    write_plan(run, [first, sidecar(first, beside)])
    assert dupegrid.apply(run, **QUIET).counts == {"done": 2}
    assert not beside.exists()
    assert dupegrid.undo(run, **QUIET).counts == {"back": 2}
    write_plan(run, [first, sidecar(first, beside)])
    beside.write_text("<xyz/>")
    found = dupegrid.apply(run, **QUIET)
    assert found.counts == {"skipped": 2}
    assert "goes with" in reasons(found)["same.png"]


def test_a_raw_goes_for_one_that_is_equal_and_stays_else(run: dupegrid.Run) -> None:
    (first, *_), folder = (row for row in plan_rows(run) if "same" in row["path"]), photos(run)
    own, kept = folder / "b/same.dng", folder / "a/one.dng"
    for path in (own, kept):
        path.write_bytes(b"raw")
    row, its = sidecar(first, own), sidecar(first, kept)
    row |= {f"keeper_{name}": its[name] for name in ("path", "path_raw", "size_bytes", "mtime_ns", "ctime_ns", "inode")}
    row |= {"file_hash": file_hash(own), "keeper_file_hash": file_hash(kept), "keeper": None}
    write_plan(run, [first, row])
    assert dupegrid.apply(run, **QUIET).counts == {"done": 2}
    assert not own.exists()
    dupegrid.undo(run, **QUIET)
    kept.write_bytes(b"war")
    found = dupegrid.apply(run, **QUIET)
    assert found.counts == {"skipped": 2}
    assert "the picture to keep" in reasons(found)["same.dng"]
    write_plan(run, [first, row | {"keeper_file_hash": "0" * 32}])
    with pytest.raises(UsageError, match="not equal to the file that is kept for it"):
        dupegrid.apply(run, **QUIET)


def test_what_is_no_sidecar_goes_for_an_equal_one_only(run: dupegrid.Run) -> None:
    (first, *_), folder = (row for row in plan_rows(run) if "same" in row["path"]), photos(run)
    for name in ("same.dng", "same.psd"):
        (folder / "b" / name).write_bytes(b"raw")
        write_plan(run, [first, sidecar(first, folder / "b" / name)])
        with pytest.raises(UsageError, match=rf"{name} is no sidecar"):
            dupegrid.apply(run, **QUIET)
        assert (folder / "b" / name).read_bytes() == b"raw"


@pytest.mark.parametrize("action", ["quarantine", "delete"])
def test_a_picture_whose_sidecar_cannot_go_is_put_back(
    run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """But for what was deleted: its sidecar stays, and says why."""
    (first, *_), beside = (
        (row for row in plan_rows(run, action) if "same" in row["path"]),
        photos(run) / "b/same.png.xmp",
    )
    beside.write_text("<x/>")
    before, move = state(photos(run)), roots.move

    def refusing(source: roots.Place, target: roots.Place) -> None:
        if source.path == os.fsencode(beside):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        move(source, target)

    write_plan(run, [first, sidecar(first, beside)])
    monkeypatch.setattr(deeds, "move", refusing)
    found = dupegrid.apply(run, delete_for_good=True, **QUIET)
    assert found.counts == ({"done": 1, "skipped": 1} if action == "delete" else {"skipped": 2})
    assert beside.exists()
    assert (state(photos(run)) == before) == (action == "quarantine")


def test_what_was_decided_after_the_plan_stops_it(run: dupegrid.Run) -> None:
    planned(run)
    before, row = state(photos(run)), next(row for row in plan_rows(run) if not _equal(row) and row["action"] != "keep")
    dupegrid.decide(run, row["image"], row["keeper"], "not-same")
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="pairs were decided since the plan was made"):
            dupegrid.apply(run, dry_run=dry_run, **QUIET)
    assert state(photos(run)) == before
    table = dupegrid.plan(run).table
    assert row["image"] not in {each["image"] for each in table.to_pylist() if each["action"] != "keep"}
    dupegrid.apply(run, **QUIET)
    assert Path(row["path"]).exists()


def test_what_a_link_of_ours_leads_to_stays(run: dupegrid.Run) -> None:
    """Another plan, of other rules, would have the keeper of the first go."""
    row = next(row for row in plan_rows(run, "symlink") if _equal(row))
    write_plan(run, [row])
    assert dupegrid.apply(run, **QUIET).counts == {"done": 1}
    other = dict(row)
    for name in ("path", "path_raw", "size_bytes", "mtime_ns", "ctime_ns", "device", "inode", "file_hash"):
        other[name], other[f"keeper_{name}"] = row[f"keeper_{name}"], row[name]
    act = next(iter(acts_of(pa.Table.from_pylist([other], PLAN), Placing((os.fsencode(photos(run)),), "id"))))
    with writing(run.run_dir) as journal:
        found = apply_acts([act], journal, Care(), "id", run.matches, lambda _: None)
    assert found.counts == {"skipped": 1}
    assert "symbolic link of an earlier apply" in (found.rows[0].reason or "")
    assert Path(row["keeper_path"]).exists()


@pytest.mark.parametrize("what", ["the file", "its keeper"])
def test_what_is_swapped_as_it_moves_is_put_back(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Another file takes the place of one that was looked at, or the keeper goes, in the moment of the rename."""
    row = next(row for row in plan_rows(run) if row["action"] != "keep")
    write_plan(run, [row])
    path = Path(row["path"] if what == "the file" else row["keeper_path"])
    move, safe = roots.move, photos(run).parent / "safe"

    def swapping(source: roots.Place, target: roots.Place) -> None:
        if not safe.exists():
            path.rename(safe)
            if what == "the file":
                path.write_bytes(b"somebody else's")
        move(source, target)

    monkeypatch.setattr(deeds, "move", swapping)
    found = dupegrid.apply(run, **QUIET)
    assert found.counts == {"skipped": 1}
    assert Path(row["path"]).exists()
    if what == "the file":
        assert path.read_bytes() == b"somebody else's"
    assert safe.exists()


def test_verify_looks_at_all_pixels(tmp_path: Path) -> None:
    drawn = picture(5, (640, 480))
    for name, box in (("a.png", None), ("b.jpg", None), ("c.png", (300, 200, 330, 230))):
        changed = drawn.copy()
        if box is not None:
            changed.paste((255, 0, 0), box)
        (tmp_path / "photos").mkdir(exist_ok=True)
        changed.save(tmp_path / "photos" / name)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, threshold=500, scheduler="sync", **QUIET)
    planned(run)
    assert dupegrid.apply(run, dry_run=True, **QUIET).counts == {"would": 2}
    found = dupegrid.apply(run, verify=True, **QUIET)
    assert found.counts == {"done": 1, "skipped": 1}
    (reason,) = (row.reason for row in found.rows if row.reason)
    assert "at full size: a part differs" in reason


def test_verify_takes_a_photo_of_two_views_for_one(tmp_path: Path) -> None:
    """Other numbers of frames are bridges by the tables, but where a person said that the two are the same."""
    (tmp_path / "photos").mkdir()
    picture(5, (320, 240)).save(tmp_path / "photos/a.mpo", "MPO", save_all=True, append_images=[picture(6)], quality=95)
    picture(5, (320, 240)).save(tmp_path / "photos/b.jpg", quality=95)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, scheduler="sync", **QUIET)
    dupegrid.decide(run, "a.mpo", "b.jpg", "same")
    assert dupegrid.plan(run).totals.files == 1
    found = dupegrid.apply(run, verify=True, **QUIET)
    assert found.counts == {"done": 1}


def test_a_quarantine_is_in_no_later_run_and_is_put_back(run: dupegrid.Run, tmp_path: Path) -> None:
    before = state(photos(run))
    count = len(planned(run))
    dupegrid.apply(run, **QUIET)
    again = dupegrid.run(photos(run), out=tmp_path / "again", thumb=16, scheduler="sync", **QUIET)
    assert again.summary.images == run.summary.images - count
    assert dupegrid.undo(run, photos(run) / "b/same.png", **QUIET).counts == {"back": 1}
    taken = photos(run) / "c/copy of two.png"
    taken.write_text("mine")
    found = dupegrid.undo(run, **QUIET)
    assert "over the file that is there now" in reasons(found)["copy of two.png"]
    assert taken.read_text() == "mine"
    taken.unlink()
    shutil.rmtree(photos(run) / "nowhere", ignore_errors=True)
    dupegrid.undo(run, **QUIET)
    assert state(photos(run)) == before


def _refused_as_full(_descriptor: int, _data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_another_volume_is_refused_or_copied_to(
    run: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read again from there has to be what was read here: else nothing is removed."""
    before, count = state(photos(run)), len(planned(run))
    with tempfile.TemporaryDirectory(dir=elsewhere(tmp_path)) as folder:
        device = roots.Roots.device
        with monkeypatch.context() as patch:
            patch.setattr(roots.Roots, "device", lambda held, root: device(held, root) + 1)
            refused = dupegrid.apply(run, **QUIET)
        assert refused.counts == {"skipped": count}
        assert all("lies on another volume than" in row.reason for row in refused.rows)
        assert state(photos(run)) == before
        found = dupegrid.apply(run, quarantine=folder, **QUIET)
        assert found.counts == {"done": count}
        assert sum(len(files) for _, _, files in os.walk(folder)) == count
        assert dupegrid.undo(run, **QUIET).counts == {"back": count}
        assert state(photos(run)) == before
        assert os.listdir(folder) == []
        with monkeypatch.context() as patch:  # a disk that writes what it likes
            patch.setattr(copies, "write_all", lambda descriptor, data: os.write(descriptor, data[:-1] + b"?"))
            broken = dupegrid.apply(run, quarantine=folder, **QUIET)
        assert broken.counts == {"skipped": count}
        assert all("the copy holds other bytes" in row.reason for row in broken.rows)
        assert state(photos(run)) == before
        assert sum(len(files) for _, _, files in os.walk(folder)) == 0
        acts = len(dupegrid.journal(run))
        with monkeypatch.context() as patch:
            patch.setattr(copies, "write_all", _refused_as_full)
            full = rf"stopped at .*, which could not be moved into {folder}: {os.strerror(errno.ENOSPC)}; .*make room"
            with pytest.raises(DupegridError, match=full):  # and no other is tried
                dupegrid.apply(run, quarantine=folder, **QUIET)
        assert [act["state"] for act in dupegrid.journal(run)[acts:]] == ["taken back"]
        assert state(photos(run)) == before


@pytest.mark.parametrize("action", ["quarantine", "delete"])
def test_a_file_of_which_all_names_go_is_counted_once(tmp_path: Path, action: str) -> None:
    big, small = save(tmp_path / "photos/big.png", 0), tmp_path / "photos/small.png"
    with Image.open(big) as opened:
        opened.resize((48, 36)).save(small)
    os.link(small, tmp_path / "photos/small too.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", threshold=500, thumb=16, scheduler="sync", **QUIET)
    size, planned = small.stat().st_size, dupegrid.plan(run, action=action).totals.freed_bytes
    found = dupegrid.apply(run, delete_for_good=True, **QUIET)
    assert (found.counts, found.bytes, planned) == ({"done": 2}, size, size)


def test_what_the_trash_refuses_stays_and_what_it_took_is_found_without_a_list(
    run: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted in its place."""
    trash_in(tmp_path, monkeypatch)
    before, count = state(photos(run)), len(planned(run, "trash"))
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(UsageError, match="needs Send2Trash"):
            dupegrid.apply(run, **QUIET)
    assert state(photos(run)) == before

    def refuse(_path: str) -> None:
        raise OSError(errno.EACCES, "no trash here")

    with monkeypatch.context() as patch:
        patch.setattr("send2trash.send2trash", refuse)
        found = dupegrid.apply(run, **QUIET)
    assert found.counts == {"skipped": count}
    assert all("was refused by the trash (no trash here)" in row.reason for row in found.rows)
    assert state(photos(run)) == before
    with monkeypatch.context() as patch:
        listdir, listed = os.listdir, []
        patch.setattr(trash.os, "listdir", lambda path: listed.append(path) or listdir(path))
        assert dupegrid.apply(run, **QUIET).counts == {"done": count}
        assert not [path for path in listed if b"Trash" in os.fsencode(path)], "as many times as there are files"
    assert dupegrid.undo(run, **QUIET).counts == {"back": count}
    assert state(photos(run)) == before


def test_two_applies_at_once_and_a_journal_that_is_not_ours(run: dupegrid.Run, tmp_path: Path) -> None:
    planned(run)
    with run.run_dir.locked(str), pytest.raises(RunDirError, match="is in use"):
        dupegrid.apply(run, **QUIET)
    mine, path = tmp_path / "mine.txt", run.path / "journal.jsonl"
    mine.write_text("mine")
    path.symlink_to(mine)
    for verb in (dupegrid.apply, dupegrid.undo):
        with pytest.raises(RunDirError):
            verb(run, **QUIET)
    path.unlink()
    path.hardlink_to(mine)
    with pytest.raises(RunDirError, match="no file of dupegrid's"):
        dupegrid.apply(run, **QUIET)
    assert mine.read_text() == "mine"


def test_a_journal_that_was_cut_off_goes_on_and_a_damaged_one_is_named(run: dupegrid.Run) -> None:
    count, path = len(planned(run)), run.path / "journal.jsonl"
    dupegrid.apply(run, **QUIET)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes(data[:-7])
    assert dupegrid.apply(run, **QUIET).counts == {"before": count}
    for damaged in (lines[1:], [*lines[:1], lines[1].replace(b"done", b"dome"), *lines[2:]], lines[:1] + lines[2:]):
        path.write_bytes(b"".join(damaged))
        for verb in (dupegrid.apply, dupegrid.undo):
            with pytest.raises(StoreError, match=r"journal\.jsonl is damaged in line [12]"):
                verb(run, **QUIET)
    path.write_bytes(data)
    assert dupegrid.undo(run, **QUIET).counts == {"back": count}


@pytest.mark.parametrize("what", ["a file from elsewhere", "a quarantine of no apply", "a trash", "an id with a path"])
def test_no_journal_has_a_file_moved_from_where_no_apply_put_it(run: dupegrid.Run, tmp_path: Path, what: str) -> None:
    """One that somebody else made, with its digests, and a file of the user's named as what was set aside."""
    secret = tmp_path / "home/.ssh/key"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(b"secret")
    shared, home = os.fsencode(tmp_path / "shared"), os.fsencode(secret.parent)
    facts = {**facts_of(secret.stat()), "hash": file_hash(secret)}
    meant = {"path": shared + b"/key", "root": shared, "was": facts, "keeper": b"/x/y", "keeper_root": b"/x"}
    meant |= {"action": "quarantine", "keeper_ino": 1, "copied": False}
    id, after = "20260101-000000-aaaaaa-1", {"to": os.fsencode(secret), "to_root": home}
    if what == "a quarantine of no apply":
        after["to"] = home + b"/.dupegrid-quarantine/20260101-000000-aaaaaa/../../key"
    if what == "a trash":
        meant["action"] = "trash"
    if what == "an id with a path":
        id, after, meant["action"] = "/../../home/.ssh/key", {}, "delete"
    (tmp_path / "shared").mkdir()
    with writing(run.run_dir) as journal, suppress(StoreError):
        journal.note("meant", id, **meant)
        journal.note("done", id, **after)
    for verb in (dupegrid.undo, dupegrid.journal):
        with pytest.raises(StoreError, match=r"journal\.jsonl is damaged in line"):
            verb(run)
    assert secret.read_bytes() == b"secret"
    assert not (tmp_path / "shared/key").exists()


@pytest.mark.parametrize("verb", [verbs_act.apply, verbs_act.undo])
def test_the_question_names_the_folder_of_what_is_half_done_too(
    run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: Callable[[str], None]
) -> None:
    """It is put back or finished first, and the journal may be somebody else's."""
    planned(run)
    file = photos(run) / "elsewhere/key"
    facts = {"was": {"size": 1}, "keeper": b"/x/y", "keeper_root": b"/x", "action": "delete"}
    with writing(run.run_dir) as journal:
        journal.note("meant", "20260101-000000-aaaaaa-1", path=os.fsencode(file), root=b"/", **facts)
    monkeypatch.setattr(verbs_act, "confirmed", lambda _: False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(UsageError, match="nothing was done"):
        verb(str(run.path))
    first = ", put back or finished first" if verb is verbs_act.apply else ""
    assert f" 1 file{first}\nin          {file.parent}\n" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_every_call_it_goes_on_and_is_undone(
    run: dupegrid.Run, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, faults = state(photos(run)), Faults(monkeypatch)
    links = action in ("hardlink", "symlink")
    rows = [row for row in plan_rows(run, action) if _equal(row) or not links][:2]
    write_plan(run, rows)
    step = 1 if LONG else 7
    for number in faults.at_calls(step, partial(dupegrid.apply, run, delete_for_good=True, **QUIET)):
        for row in rows:
            assert file_hash(row["keeper_path_raw"]) == row["keeper_file_hash"]
        if action != "delete":
            faults.at_call(number // 2, partial(dupegrid.undo, run, **QUIET))
            dupegrid.apply(run, **QUIET)
            dupegrid.undo(run, **QUIET)
            assert state(photos(run)) == before, number
        else:
            dupegrid.apply(run, delete_for_good=True, **QUIET)
            assert not any(Path(row["path"]).exists() for row in rows)
            for row in rows:
                shutil.copyfile(row["keeper_path"], row["path"])  # all equal here
                os.utime(row["path"], ns=(row["mtime_ns"], row["mtime_ns"]))
            (run.path / "journal.jsonl").unlink()
    assert number + step > 12


def test_where_names_cannot_be_changed_without_replacing_they_are_linked(
    run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "_renameat2", lambda: None)
    before, count = state(photos(run)), len(planned(run))
    assert dupegrid.apply(run, **QUIET).counts == {"done": count}
    assert dupegrid.undo(run, **QUIET).counts == {"back": count}
    assert state(photos(run)) == before


def test_a_full_disk_stops_it_with_a_line(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before, faults = state(photos(run)), Faults(monkeypatch)
    planned(run)
    for number in range(2, 24, 3):
        faults.set(number, "refused")
        with suppress(DupegridError, OSError):  # else its rows say so
            dupegrid.apply(run, **QUIET)
        faults.set()
        dupegrid.undo(run, **QUIET)
        assert state(photos(run)) == before


def test_the_commands_ask_and_print(run: dupegrid.Run) -> None:
    count = len(planned(run))
    asked = command("apply", run.path)
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    dry = command("apply", run.path, "--dry-run")
    assert dry.stdout.count("mv --no-clobber -- ") == count
    found = json.loads(command("apply", run.path, "--yes", "--json").stdout)
    assert found["counts"] == {"done": count}
    again = command("plan", run.path).stdout
    assert f"gone        {count} of them already: dupegrid run --out {run.path} takes" in again
    listed = command("journal", run.path).stdout.splitlines()
    assert len(listed) == count
    assert all(line.startswith(found["id"]) for line in listed)
    assert "put back" in command("undo", run.path, "--action", found["id"], "--yes").stdout
    assert command("undo", run.path, "--action", "never", "--yes").returncode == 2
    assert f"undo        dupegrid undo {run.path}\n" in command("apply", run.path, "--yes").stdout
    assert "put back" in command("undo", run.path, "--yes").stdout
    planned(run, "delete")
    forever = command("apply", run.path, "--yes")
    assert (forever.returncode, "for good" in forever.stderr) == (2, True)


def test_an_empty_plan_does_nothing(run: dupegrid.Run) -> None:
    write_plan(run, [])
    assert dupegrid.apply(run, **QUIET).counts == {}
    assert dupegrid.undo(run, **QUIET).counts == {}
    assert isinstance(run.clusters, pa.Table)


def test_verify_goes_by_the_pair_that_was_compared_for_equal_thumbnails(tmp_path: Path) -> None:
    """A turned copy of one of many equal pictures is turned as that of their representative is."""
    (tmp_path / "photos").mkdir()
    drawn = picture(5, (64, 48))
    for number in range(66):
        drawn.save(tmp_path / f"photos/{number:02d}.png", compress_level=1 + number % 9, dpi=(72 + number, 72))
    drawn.transpose(Image.Transpose.ROTATE_90).resize((96, 128)).save(tmp_path / "photos/large.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, keep="pixels", scheduler="sync", **QUIET)
    assert run.images["identical_to"].null_count < 10
    planned(run)
    reasons_ = {row.reason for row in dupegrid.apply(run, verify=True, **QUIET).rows}
    assert not any(reason and "at full size" in reason for reason in reasons_), reasons_
