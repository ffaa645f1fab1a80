"""Runs that go on: by their run directory alone, with files as PATHs, and what is said of what was there before."""

import os
from pathlib import Path

import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, UsageError
from tests.conftest import save, tree_state
from tests.helpers.forks import command
from tests.helpers.plans import state

SETTINGS = {"scheduler": "sync", "quiet": True, "thumb": 16}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, seed in (("a.png", 1), ("b.jpg", 1), ("c.png", 2), ("d.png", 2), ("e.png", 3)):
        save(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def test_a_run_goes_on_by_its_directory_alone_with_all_its_settings(photos: Path, tmp_path: Path) -> None:
    """And what is given wins; with PATHs all else is what the call says, as it ever was."""
    out = tmp_path / "run"
    first = dupegrid.run(photos, out=out, threshold=20, cutoff=90, orientations="all", relations=True, **SETTINGS)
    save(photos / "f.png", 3)
    again = dupegrid.run(out=out, quiet=True)
    assert again.config == first.config
    assert len(again.images) == 6
    assert again.relations.num_rows == len(again.matches) == 3
    assert dupegrid.run(out=out, threshold=120, quiet=True).config.cutoff == 120
    assert dupegrid.index(out=out, quiet=True).config.orientations == "all"
    (tmp_path / "settings.yaml").write_text("orientations: none\nthreshold: 30\n")
    by_file = dupegrid.run(out=out, config=tmp_path / "settings.yaml", threshold=25, quiet=True).config
    assert (by_file.orientations, by_file.threshold, by_file.paths) == ("none", 25, first.config.paths)
    with pytest.raises(UsageError, match="no PATH"):
        dupegrid.run(out=tmp_path / "new", quiet=True)
    with pytest.raises(UsageError, match="run of other paths"):
        dupegrid.run(photos / "a.png", out=out, **SETTINGS)
    assert dupegrid.run(photos, out=out, **SETTINGS).config.orientations == "rotations"


def test_files_are_named_as_paths_tidied_up_and_put_back(photos: Path, tmp_path: Path) -> None:
    """Nothing beside them is looked at; a file that went need not be named again."""
    out, before = tmp_path / "run", state(photos)
    named = [photos / name for name in ("a.png", "b.jpg", "e.png")]
    run = dupegrid.run(*named, out=out, **SETTINGS)
    assert [os.path.basename(path) for path in run.images["path"].to_pylist()] == ["a.png", "b.jpg", "e.png"]
    plan = dupegrid.plan(run)
    (gone,) = (row["path"] for row in plan.table.to_pylist() if row["action"] == "quarantine")
    assert dupegrid.apply(out, quiet=True).counts == {"done": 1}
    assert not Path(gone).exists()
    assert dupegrid.run(out=out, quiet=True).images["status"].to_pylist().count("removed") == 1
    left = [path for path in named if str(path) != gone]
    assert dupegrid.run(*left, out=out, **SETTINGS).summary.removed == 1
    assert dupegrid.undo(out, quiet=True).counts == {"back": 1}
    assert state(photos) == before
    assert dupegrid.run(*named, out=out, **SETTINGS).summary.duplicates == 1


def test_a_file_whose_folder_is_gone_too_is_missed_as_on_an_unplugged_disk(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "disk" / "x.png", 5)
    out = tmp_path / "run"
    dupegrid.run(photos, tmp_path / "disk" / "x.png", out=out, **SETTINGS)
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    with pytest.raises(DupegridError, match=r"x\.png"):
        dupegrid.run(out=out, quiet=True)
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert dupegrid.run(out=out, quiet=True).images["status"].to_pylist() == ["ok"] * 6


def test_a_disk_that_comes_back_at_another_place_takes_its_numbers_along(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its files are known by their bytes; decisions hold, and nothing is decoded or compared again."""
    disk, other, out = tmp_path / "disk", tmp_path / "other", tmp_path / "run"
    save(disk / "x.png", 5)
    save(disk / "y.png", 2)
    before = dupegrid.run(photos, disk, out=out, **SETTINGS)
    disk.rename(other)
    for call, then in (((), "with the other settings of this run"), ((photos, disk), "")):
        with pytest.raises(UsageError, match=rf"/disk does not exist.* its disk.*{then}"):
            dupegrid.run(*call, out=out, **SETTINGS)
    run = dupegrid.run(photos, other, out=out, **{**SETTINGS, "quiet": False})
    assert f"index: {disk} is not there: of its pictures" in capfd.readouterr().err
    assert run.images["status"].to_pylist() == ["ok"] * 7
    assert [str(path) for path in run.images["path"].to_pylist()[5:]] == [f"{other}/x.png", f"{other}/y.png"]
    assert run.receipt.pairs["earlier"] == before.receipt.pairs["total"]
    with pytest.raises(UsageError, match=f"name {photos}, {other} again"):
        dupegrid.run(photos / "a.png", out=out, **SETTINGS)
    other.rename(tmp_path / "unplugged")
    other.mkdir()  # as a place of a disk is without it
    capfd.readouterr()
    assert dupegrid.run(out=out, scheduler="sync").summary.removed == 2
    assert f"nothing is left in {other}, 2 files before: is its disk connected?" in capfd.readouterr().err
    dupegrid.run(out=out, scheduler="sync")
    save(other / "z.png", 5)
    dupegrid.run(out=out, scheduler="sync")
    assert dupegrid.run(photos, other, out=out, thumb=16, scheduler="sync", extensions=[".jpg"]).summary.ok == 1
    assert "is its disk connected" not in capfd.readouterr().err


def test_an_against_file_that_is_gone_is_missed(photos: Path, tmp_path: Path) -> None:
    """Without it the run would be another one, of all with all."""
    out = tmp_path / "run"
    dupegrid.run(photos / "a.png", out=out, against=photos / "b.jpg", **SETTINGS)
    (photos / "b.jpg").unlink()
    with pytest.raises(UsageError, match=r"b\.jpg does not exist"):
        dupegrid.run(out=out, quiet=True)


def test_relations_of_earlier_matches_are_said_to_be_gone(photos: Path, tmp_path: Path) -> None:
    """They stay while the matches do."""
    words = ("run", photos, "--out", tmp_path / "run", "--thumb", 16, "--scheduler", "sync")
    assert "relations   of these pairs" in command(*words, "--relations").stdout
    same = command(*words)
    assert "relations   of these pairs" in same.stdout
    assert "are gone" not in same.stderr
    save(photos / "g.png", 3)
    more = command(*words)
    assert "relations   " not in more.stdout
    assert "relations: those of earlier matches are gone; --relations makes them again" in more.stderr
    assert "are gone" not in command(*words).stderr


def test_the_status_of_a_run_that_had_nothing_to_compare_again_is_done(photos: Path, tmp_path: Path) -> None:
    """D6, D7: what is gone is counted by no stage."""
    out = tmp_path / "run"
    dupegrid.index(photos, out=out, **SETTINGS)
    assert command("status", out).stdout.splitlines()[1:4] == ["compare  to do", "cluster  to do", "report   to do"]
    dupegrid.run(photos, out=out, **SETTINGS)
    (photos / "a.png").rename(photos / "z.png")
    (photos / "e.png").unlink()
    dupegrid.run(photos, out=out, **SETTINGS)
    before = tree_state(out)
    lines = command("status", out).stdout.splitlines()
    assert lines[:4] == ["index    4 of 4 images", "compare  done", "cluster  done", "report   done"]
    assert dupegrid.status(out).compared
    assert tree_state(out) == before


def test_cluster_says_where_the_report_is_and_one_is_no_plural(photos: Path, tmp_path: Path) -> None:
    """D13, D16."""
    out = tmp_path / "run"
    for name in ("b.jpg", "c.png", "d.png", "e.png"):
        (photos / name).unlink()
    words = ("run", photos, "--out", out, "--thumb", 16, "--scheduler", "sync")
    assert "1 found, 1 picture read" in command(*words).stdout
    assert command("cluster", out).stdout.splitlines()[-1] == f"report      {out}/report.html"
    (out / "report.html").unlink()
    assert "report" not in command("cluster", out).stdout


def test_a_run_directory_may_be_named_by_a_link(photos: Path, tmp_path: Path) -> None:
    run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    (tmp_path / "link").symlink_to(run.path)
    before = state(photos)
    dupegrid.decide(tmp_path / "link", "a.png", "b.jpg", "not-same")
    assert dupegrid.plan(tmp_path / "link").totals.files == 1
    assert dupegrid.apply(tmp_path / "link", quiet=True).counts == {"done": 1}
    assert dupegrid.undo(tmp_path / "link", quiet=True).counts == {"back": 1}
    assert state(photos) == before
