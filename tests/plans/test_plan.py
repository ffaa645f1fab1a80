"""plan: what would go and what is kept, on a small collection with all that must not go; nothing is touched."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dupegrid
from dupegrid.app.command.lines_plan import plan_lines
from dupegrid.core.errors import RunDirError, StoreError, UsageError
from dupegrid.plans import decisions
from dupegrid.plans.plan import lost_metadata
from dupegrid.plans.sample import sample
from dupegrid.storage.schemas import IMAGES, PLAN
from dupegrid.storage.words import KEPT
from tests.conftest import picture, save, tree_state
from tests.helpers.forks import command

SETTINGS: dict[str, Any] = {"quiet": True, "thumb": 8, "scheduler": "sync", "keep": "pixels", "follow_symlinks": True}


def small(path: Path, seed: int, **options: Any) -> Path:
    """A copy of a picture that is half as large, so that the rule is known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).resize((48, 36), Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """A run on pictures with copies of every kind."""
    folder = tmp_path_factory.mktemp("plan") / "photos"
    gps = Image.Exif()
    gps.get_ifd(0x8825)[1] = "N"
    gps.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    gps.get_ifd(0x8825)[3] = "E"
    gps.get_ifd(0x8825)[4] = (1.0, 2.0, 3.0)
    gps[306] = "2020:01:01 00:00:00"
    gps.get_ifd(0x8769)[36867] = "2020:01:01 00:00:00"
    for seed in range(8):
        save(folder / f"a/{seed}.png", seed)
    small(folder / "b/0.png", 0)
    shutil.copyfile(folder / "a/1.png", folder / "b/1 (1).png")
    os.link(folder / "a/2.png", folder / "b/2.png")  # another name of the keeper
    small(folder / "b/3.png", 3)
    os.link(folder / "b/3.png", folder / "c/3.png") if (folder / "c").mkdir() is None else None
    os.symlink(folder / "a/4.png", folder / "b/4.png")
    small(folder / "b/5.png", 5)
    (folder / "b/5.dng").write_bytes(b"raw")
    small(folder / "b/6.png", 6)
    (folder / "b/6.xmp").write_bytes(b"<x/>")
    (folder / "b/6.mov").write_bytes(b"film")
    (folder / "a/6.mov").write_bytes(b"film")
    small(folder / "b/7.jpg", 7, exif=gps, quality=95)
    Path(os.fsdecode(os.fsencode(folder) + b"/b/\xff.png")).write_bytes((folder / "b/0.png").read_bytes())
    return dupegrid.run(folder, out=folder.parent / "run", **SETTINGS)


def fates(made: Any) -> dict[str, str]:
    """By the end of each path what becomes of it."""
    rows = made.table.to_pylist()
    return {"/".join(row["path"].rsplit("/", 2)[1:]): row["reason"] or row["action"] for row in rows}


USUAL = {
    **dict.fromkeys(("b/0.png", "b/\\xff.png", "b/1 (1).png", "b/3.png", "c/3.png", "b/7.jpg"), "quarantine"),
    **dict.fromkeys(("b/6.png", "b/6.mov", "b/6.xmp"), "quarantine"),
    "b/2.png": "keeper_name",
    "b/4.png": "link",
    "b/5.png": "unit",
}


def test_what_goes_and_what_is_kept(finished: dupegrid.Run) -> None:
    before = tree_state(finished.path.parent / "photos")
    made = dupegrid.plan(finished)
    assert fates(made) == USUAL
    assert tree_state(finished.path.parent / "photos") == before
    assert pq.read_table(finished.path / "plan.parquet").equals(made.table)
    assert made.table.schema == PLAN
    assert set(filter(None, made.table["reason"].to_pylist())) <= set(KEPT)


def test_a_row_says_all_of_the_file_and_its_keeper(finished: dupegrid.Run) -> None:
    images = {row["path_raw"]: row for row in finished.images.to_pylist()}
    clusters = {row["image"]: row for row in finished.clusters.to_pylist()}
    goes = [row for row in dupegrid.plan(finished).table.to_pylist() if row["action"] != "keep"]
    assert not {row["path_raw"] for row in goes} & {row["keeper_path_raw"] for row in goes}
    for row in goes:
        for prefix in ("", "keeper_"):
            if row["goes_with"] is None:
                known = images[row[f"{prefix}path_raw"]]
                names = ("size_bytes", "mtime_ns", "ctime_ns", "device", "inode", "file_hash", "path")
                assert [row[prefix + name] for name in names] == [known[name] for name in names]
            status = os.lstat(row[f"{prefix}path_raw"])
            stamps = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)
            assert stamps == tuple(
                row[prefix + name] for name in ("size_bytes", "mtime_ns", "ctime_ns", "device", "inode")
            )
        if row["goes_with"] is None:
            of = clusters[row["image"]]
            assert (row["keeper"], row["mse"], row["rule"]) == (of["keeper"], of["mse_to_keeper"], of["rule"])
            assert row["mse"] <= finished.config.threshold


def test_space_is_counted_once_a_file_and_not_where_a_name_is_left(finished: dupegrid.Run) -> None:
    made = dupegrid.plan(finished)
    goes = {os.fsencode(row["path_raw"]) for row in made.table.to_pylist() if row["action"] != "keep"}
    left = {
        (status.st_dev, status.st_ino)
        for base, _, names in os.walk(os.fsencode(finished.path.parent / "photos"))
        for name in names
        if os.path.join(base, name) not in goes and (status := os.stat(os.path.join(base, name)))
    }
    gone = {(os.stat(path).st_dev, os.stat(path).st_ino): os.stat(path).st_size for path in goes}
    assert made.totals.freed_bytes == sum(size for file, size in gone.items() if file not in left)
    assert made.totals.files == len(goes) == sum(made.totals.by_rule.values())
    one_name = dupegrid.plan(finished, where="path not like '%/c/3.png'")
    assert (
        one_name.totals.freed_bytes
        == made.totals.freed_bytes - (finished.path.parent / "photos/c/3.png").stat().st_size
    )


def test_links_need_equal_files_and_leave_units_alone(finished: dupegrid.Run) -> None:
    for action in ("hardlink", "symlink", "reflink"):
        found = fates(dupegrid.plan(finished, action))
        assert found.pop("b/1 (1).png") == action
        assert (found.pop("b/2.png"), found.pop("b/4.png")) == ("keeper_name", "link")
        assert set(found.values()) == {"not_equal"}
        assert "b/6.xmp" not in found


def test_only_what_is_chosen_goes(finished: dupegrid.Run) -> None:
    pytest.importorskip("duckdb")
    found = fates(dupegrid.plan(finished, where="path like '%/b/0.png'"))
    assert [path for path, fate in found.items() if fate == "quarantine"] == ["b/0.png"]
    assert found["b/6.png"] == "where"
    assert found["b/2.png"] == "keeper_name"


def test_coordinates_that_say_no_place_are_not_lost() -> None:
    """They cannot be written beside the keeper either, and do not stand in for those of a place."""
    place, no_place = {"has_gps": True, "latitude": 0.0, "longitude": 0.0}, {"has_gps": True}
    images = pa.Table.from_pylist([no_place, {"has_gps": False}, place, no_place], IMAGES)
    lost = lost_metadata(images, np.array([0, 2, 2, 0]), np.array([1, 1, 3, 3]))
    assert lost.to_pylist() == [None, "gps", "gps", None]


@pytest.mark.parametrize("folders", ["c in a", "{photos}/c in {photos}/a", ("c", "a")])
def test_one_pair_of_folders_only(finished: dupegrid.Run, folders: Any) -> None:
    if isinstance(folders, str):
        folders = folders.format(photos=finished.path.parent / "photos")
    found = fates(dupegrid.plan(finished, folders=folders))
    assert [path for path, fate in found.items() if fate == "quarantine"] == ["c/3.png"]
    assert found["b/0.png"] == "folders"


def test_lost_metadata_is_said_and_keeps_where_asked(finished: dupegrid.Run) -> None:
    rows = {row["path"].rsplit("/", 1)[1]: row for row in dupegrid.plan(finished).table.to_pylist()}
    assert {"date", "gps"} <= set(rows["7.jpg"]["lost_metadata"].split(", "))
    assert rows["6.png"]["lost_metadata"].split(", ")[-1] == "sidecar"
    made = dupegrid.plan(finished)
    assert {"date", "gps", "sidecar"} <= made.totals.lost.keys()
    assert "mtime" not in made.totals.lost
    assert repr(made).startswith(f"Plan of {made.totals.files} files to quarantine, ")
    assert "sidecar of 1" in "\n".join(plan_lines(made))
    found = fates(dupegrid.plan(finished, keep_metadata=True))
    assert found["b/7.jpg"] == found["b/6.png"] == "metadata"
    assert "b/6.xmp" not in found
    assert found["b/0.png"] == "quarantine"


def test_another_threshold(finished: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    made = dupegrid.plan(tmp_path / "run", threshold=0)
    assert made.threshold == dupegrid.open_run(tmp_path / "run").config.threshold == 0
    going = {path for path, fate in fates(made).items() if fate == "quarantine"}
    assert going == {"b/1 (1).png", "b/\\xff.png"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"action": "burn"}, "no action"),
        ({"action": "keep"}, "no action"),
        ({"folders": "a"}, "B in A"),
        ({"folders": "nowhere in a"}, "B in A"),
        ({"folders": "a in a"}, "neither may lie in the other"),
        ({"threshold": 60000}, "threshold"),
        ({"wher": "true"}, "takes no 'wher'"),
        ({"decisions": "/nowhere.csv"}, "cannot read"),
    ],
)
def test_a_call_that_is_wrong_is_said(finished: dupegrid.Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dupegrid.plan(finished, **options)


def test_protected_pictures_and_their_neighbours_stay(finished: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    photos = finished.path.parent / "photos"
    run = dupegrid.cluster(tmp_path / "run", protect=[photos / "b/0.png", photos / "b/6.xmp", photos / "b/6.mov"])
    found = fates(dupegrid.plan(run))
    assert (found["a/0.png"], found["b/6.png"]) == ("quarantine", "unit")
    assert not found.keys() & {"b/0.png", "b/6.mov", "b/6.xmp"}  # the first is the keeper now


def test_decisions_go_before_the_rules(finished: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    run = dupegrid.open_run(tmp_path / "run")
    dupegrid.decide(run, "a/0.png", "b/0.png", "not-same")
    dupegrid.decide(run, "a/3.png", "b/3.png", "variant")
    dupegrid.decide(run, "a/7.png", "b/7.jpg", "same", keeper="b/7.jpg")
    assert not dupegrid.status(run.path).cluster, "the clusters are of before"
    found = fates(dupegrid.plan(run))
    assert dupegrid.status(run.path).cluster
    assert found["b/\\xff.png"] == "quarantine"  # its bytes are those of b/0.png: another keeper for one of the two
    assert "a/0.png" not in found
    assert found["b/3.png"] == found["c/3.png"] == "variant"
    assert found["a/7.png"] == "quarantine"
    assert "b/7.jpg" not in found
    again = dupegrid.cluster(run.path)
    (row,) = again.clusters.filter(pc.match_substring(again.clusters["path"], "a/7.png")).to_pylist()
    assert (row["role"], row["rule"]) == ("duplicate", "decided")
    dupegrid.decide(run, "a/0.png", "b/0.png", "undecided")
    assert fates(dupegrid.plan(run))["b/0.png"] == "quarantine"


def test_decisions_are_carried_to_another_run(finished: dupegrid.Run, tmp_path: Path) -> None:
    photos = tmp_path / "renamed"
    shutil.copytree(finished.path.parent / "photos/a", photos / "x")
    small(photos / "y.png", 0)
    shutil.copytree(finished.path, tmp_path / "run")
    dupegrid.decide(tmp_path / "run", "a/0.png", "b/0.png", "not-same")
    settings = {**SETTINGS, "follow_symlinks": False}
    for source in (tmp_path / "run", tmp_path / "run/decisions.parquet"):
        out = tmp_path / f"out of {source.name}"
        other = dupegrid.run(photos, out=out, decisions=source, **settings)
        assert len(other.clusters) == 0
        assert len(other.matches) == 1
    import pyarrow.csv as pacsv

    pacsv.write_csv(decisions.read(other.run_dir), tmp_path / "mine.csv")
    third = dupegrid.run(photos, out=tmp_path / "third", **settings)
    assert len(third.clusters) == 2
    assert len(dupegrid.cluster(third.path, decisions=tmp_path / "mine.csv").clusters) == 0
    assert len(dupegrid.plan(third, decisions=tmp_path / "mine.csv").table) == 0


def test_a_run_that_has_nothing_or_is_not_finished(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.png", 1)
    with pytest.raises(RunDirError, match="no run directory"):
        dupegrid.plan(tmp_path / "nothing")
    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", thumb=8, scheduler="sync", quiet=True)
    with pytest.raises(StoreError, match=r"not fully compared: finish it with .dupegrid run --out RUN"):
        dupegrid.plan(run)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=8, scheduler="sync", quiet=True)
    made = dupegrid.plan(run, where="mse < 1")
    assert (len(made.table), made.totals.files, made.totals.freed_bytes) == (0, 0, 0)


def test_what_an_application_keeps_track_of_stays(tmp_path: Path) -> None:
    """A picture that is moved out of the library of Photos is missing there."""
    save(tmp_path / "photos/0.png", 0)
    for name in ("All.photoslibrary/originals/A/0.png", "Old.APLIBRARY/1.png", "photoslibrary/2.png"):
        small(tmp_path / "photos" / name, 0)
    dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert fates(dupegrid.plan(tmp_path / "run")) == {
        **dict.fromkeys(("A/0.png", "Old.APLIBRARY/1.png"), "library"),
        "photoslibrary/2.png": "quarantine",
    }


def test_a_copied_folder_of_raw_and_jpeg_goes_whole(tmp_path: Path) -> None:
    """A RAW whose preview was read is a bridge to the JPEG that is kept; it goes for its copy, as one nobody read."""
    small(tmp_path / "photos/a/0.nef", 0, format="TIFF")
    save(tmp_path / "photos/a/0.jpg", 0)
    shutil.copytree(tmp_path / "photos/a", tmp_path / "photos/b")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert fates(dupegrid.plan(run)) == {"a/0.nef": "raw", "b/0.jpg": "quarantine", "b/0.nef": "quarantine"}
    assert dupegrid.apply(run).counts == {"done": 2}
    assert dupegrid.undo(run).counts == {"back": 2}


def test_what_comes_next_is_what_can_be_done(finished: dupegrid.Run) -> None:
    assert "undo" in plan_lines(dupegrid.plan(finished, "trash"))[-1]
    assert plan_lines(dupegrid.plan(finished, "delete"))[-1] == (
        f"next        dupegrid apply {finished.path} --delete-for-good, which nothing takes back"
    )


def test_pictures_of_an_archive_are_kept(finished: dupegrid.Run, tmp_path: Path) -> None:
    photos = finished.path.parent / "photos"
    shutil.make_archive(str(tmp_path / "photos"), "zip", photos / "a", ".")
    small(tmp_path / "b/0.png", 0)
    settings = {**SETTINGS, "follow_symlinks": False}
    run = dupegrid.run(tmp_path / "photos.zip", tmp_path / "b", out=tmp_path / "run", **settings)
    assert fates(dupegrid.plan(run)) == {"b/0.png": "elsewhere"}


def test_a_sample_is_of_one_rule_and_the_same_each_time(finished: dupegrid.Run) -> None:
    table = dupegrid.plan(finished).table
    rule, rows = sample(table, 2)
    assert rule == "pixels"
    assert len(rows) == 2
    assert rows.equals(sample(table, 2, "pixels")[1])
    assert 4 <= len(sample(table, 99)[1]) <= 6
    assert not any(pc.equal(rows["file_hash"], rows["keeper_file_hash"]).to_pylist())
    with pytest.raises(UsageError, match="pixels"):
        sample(table, 2, "nonsense")


def test_the_command_asks_and_writes_what_was_answered(finished: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    shown = json.loads(command("plan", tmp_path / "run", "--sample", 3, "--json").stdout)
    assert (shown["rule"], len(shown["pairs"])) == ("pixels", 3)
    done = command("plan", tmp_path / "run", "--where", "mse < 1", "--json")
    assert json.loads(done.stdout)["kept"]["where"] > 0
    done = command("decide", tmp_path / "run", "a/7.png", "b/7.jpg", "same", "--keep", "B")
    assert done.returncode == 0
    assert "the same picture" in done.stdout
    assert f"next        dupegrid plan {tmp_path}/run, which makes the clusters anew" in done.stdout
    assert len(decisions.read(dupegrid.open_run(tmp_path / "run").run_dir)) == 1
    done = command("plan", tmp_path / "run", "--rule", "pixels")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_answers_to_a_sample(
    finished: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import io

    from dupegrid.app.command import verbs_plan

    shutil.copytree(finished.path, tmp_path / "run")
    monkeypatch.setattr("sys.stdin", io.StringIO("what?\nd\n\ns\nA\n"))
    verbs_plan.plan(str(tmp_path / "run"), sample=9)
    said = capsys.readouterr()
    assert "1 of 2 pairs approved, 50 %" in said.out
    found = decisions.read(dupegrid.open_run(tmp_path / "run").run_dir)
    assert found["decision"].to_pylist() == ["not-same", "same"]
    assert set(found["by"].to_pylist()) == {"sample"}


@pytest.mark.parametrize(
    ("a", "b", "decision", "keeper", "said"),
    [
        ("a/0.png", "b/0.png", "maybe", None, "no decision"),
        ("a/1.png", "b/1 (1).png", "same", None, "equal byte for byte"),
        ("a/0.png", "nothing.png", "same", None, "ends with nothing.png"),
        ("a/0.png", "0.png", "same", None, "2 images end with 0.png, such as /.*/a/0.png and /.*/b/0.png: give"),
        ("a/0.png", "b/5.dng", "same", None, "was not read"),
        ("a/0.png", "b/0.png", "same", "a/1.png", "one of two"),
        ("a/0.png", "b/0.png", "not-same", "a/0.png", "one of two"),
    ],
)
def test_what_cannot_be_decided(finished: dupegrid.Run, a: str, b: str, decision: str, keeper: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dupegrid.decide(finished, a, b, decision, keeper)
    assert not (finished.path / "decisions.parquet").exists()


def test_a_picture_is_named_by_its_id_or_where_it_is(finished: dupegrid.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    paths = finished.images["path_raw"].to_pylist()
    ends = [next(k for k, path in enumerate(paths) if path.endswith(end)) for end in (b"a/0.png", b"b/\xff.png")]
    whole = os.fsdecode(paths[ends[1]])
    by_id = dupegrid.decide(tmp_path / "run", ends[0], ends[1], "variant")
    assert dupegrid.decide(tmp_path / "run", "a/0.png", whole, "variant") == by_id
    found = decisions.in_force(decisions.read(dupegrid.open_run(tmp_path / "run").run_dir))
    assert found["decision"].to_pylist() == ["variant"]
