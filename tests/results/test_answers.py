"""What the verbs give: records in Python, and the same as JSON, whose keys scripts rely on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import dupegrid
from dupegrid.app.command.lines import status_lines, summary_lines
from dupegrid.app.demo import Demo, Kind, Score
from dupegrid.core.errors import DamagedError, DupegridError
from dupegrid.results.answers import Failure
from dupegrid.storage.files import read_json, write_json
from tests.conftest import save

SUMMARY = [
    *(
        "run",
        "report",
        "images",
        "ok",
        "failed",
        "removed",
        "unreadable_folders",
        "links_left_alone",
        "pairs",
        "threshold",
    ),
    *("matches", "clusters", "duplicates", "bridges", "duplicate_bytes", "not_asked_for", "relations"),
    "nothing_under",
]
SIDE = ["id", "path", "width", "height", "size_bytes", "format", "status", "aspect"]


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(pictures, out=tmp_path_factory.mktemp("answers") / "run", thumb=16, quiet=True)


def test_the_summary_has_two_more_keys_with_against(run: dupegrid.Run, pictures: Path, tmp_path: Path) -> None:
    assert list(run.summary.as_dict()) == SUMMARY
    assert run.summary.already_there is run.summary.pictures_of_path is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.jpg").write_bytes((pictures / "0000.jpg").read_bytes())
    against = dupegrid.run(tmp_path / "a", out=tmp_path / "run", against=pictures, thumb=16, quiet=True).summary
    assert list(against.as_dict()) == [*SUMMARY, "pictures_of_path", "already_there"]
    assert against.already_there == against.pictures_of_path == 1


def test_what_people_are_told_names_what_was_not_listed_and_what_comes_next(run: dupegrid.Run) -> None:
    lines = summary_lines(replace(run.summary, unreadable_folders=["/a", "/b", "/c", "/d"]))
    assert "folders     4 not listed: /a, /b, /c, and 1 more in run.json" in lines
    assert lines[-1] == f"next        dupegrid review {run.path}, or dupegrid plan {run.path}"
    assert not any(line.startswith("next ") for line in summary_lines(replace(run.summary, clusters=0)))


def test_a_place_to_protect_that_holds_nothing_is_named(run: dupegrid.Run, pictures: Path, tmp_path: Path) -> None:
    """A word that is misspelt protects nothing, and its pictures may go."""
    shutil.copytree(run.path, tmp_path / "run")
    typo, picture = str(pictures / "typo"), str(pictures / "0000.jpg")
    asked = dupegrid.cluster(tmp_path / "run", protect=[typo, picture], only=[str(pictures)]).summary
    assert asked.nothing_under == [typo]
    assert f"look again  nothing is under {typo}, which --protect or --only names" in summary_lines(asked)
    assert run.summary.nothing_under == []


def test_damaged_pictures_are_listed_before_what_are_none(run: dupegrid.Run) -> None:
    """Twenty are listed, and films and sidecars of phones are many."""
    state = dupegrid.status(run)
    none = [Failure("film.mov", "unidentified", "not a picture in any known format")] * 20
    lines = status_lines(replace(state, failures=[*none, Failure("photo.jpg", "truncated", "cut off")]))
    assert "  truncated: photo.jpg (cut off)" in lines
    assert lines.count("  unidentified: film.mov (not a picture in any known format)") == 19
    none += [Failure(f"{k}.jpg.json", "unidentified", "not a picture in any known format") for k in range(30)]
    lines = status_lines(replace(state, failures=[*none, Failure("photo.jpg", "truncated", "cut off")]))
    assert lines[-2:] == ["  truncated: photo.jpg (cut off)", "  unidentified, by their names: 30 .json, 20 .mov"]


def test_the_receipt_is_what_the_file_holds(run: dupegrid.Run) -> None:
    file = run.path / "receipt.json"
    assert run.receipt.as_dict() == read_json(file)
    assert list(read_json(file)) == [
        *("images", "unreadable_folders", "links_left_alone", "pairs", "tiles", "matches", "fingerprint", "cutoff"),
        *("orientations", "scope", "versions"),
    ]
    assert list(read_json(file)["images"]) == ["found", "ok", "failed", "removed"]
    assert run.receipt.images.ok + sum(run.receipt.images.failed.values()) == run.receipt.images.found
    whole = file.read_bytes()
    try:
        for other in ({}, {**run.receipt.as_dict(), "more": 1}, {**run.receipt.as_dict(), "images": 3}):
            write_json(file, other)
            with pytest.raises(DamagedError, match="not what was written there"):
                run.receipt  # noqa: B018
    finally:
        file.write_bytes(whole)


def test_status_says_how_far_each_stage_is(run: dupegrid.Run) -> None:
    status = dupegrid.status(run)
    assert list(status.as_dict()) == [
        *("run", "index", "compare", "compared", "relate", "cluster", "report", "relations"),
        *("failed", "failures", "missing"),
    ]
    assert status.as_dict()["index"] == {"done": len(run.images), "total": len(run.images), "unit": "images"}
    assert (status.compare.done, status.compare.unit) == (status.compare.total, "tiles")
    assert status.cluster is status.report is True
    assert sum(status.failed.values()) == len(status.failures) == 3
    assert list(status.as_dict()["failures"][0]) == ["path", "status", "error"]
    assert {failure.status for failure in status.failures} == set(status.failed)


def test_estimate_explain_and_demo_as_json(run: dupegrid.Run, pictures: Path) -> None:
    assert list(dupegrid.estimate(pictures, thumb=16).as_dict()) == [
        *("images", "bytes_read", "pairs", "images_per_s", "pairs_per_s", "index_hours", "compare_hours_at_most"),
        *("memory_bytes", "disk_bytes", "scale"),
    ]
    found = run.explain(0, 1)
    assert list(found.as_dict()) == [
        *("a", "b", "mse", "best", "bounds", "same_file", "relation", "joined_at", "thumbnails", "looks")
    ]
    assert list(found.as_dict()["a"]) == SIDE
    assert found.a.aspect == round(found.a.width / found.a.height, 4)
    made = Demo("pictures", run.summary, Score([Kind("copy", 6, 5)], 0)).as_dict()
    assert list(made) == ["pictures", "summary", "kinds", "false"]
    assert (list(made["summary"]), made["kinds"]) == (SUMMARY, [{"kind": "copy", "planted": 6, "found": 5}])
    assert json.loads(json.dumps(made)) == made


def test_removed_files_are_not_found(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"photos/{name}.png", ord(name))
    dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, quiet=True)
    (tmp_path / "photos/b.png").unlink()
    summary = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, quiet=True).summary
    assert (summary.images, summary.ok, summary.failed, summary.removed) == (2, 2, {}, 1)
    assert "files       2 found, 2 pictures read; not read: none; 1 of an earlier run gone" in summary_lines(summary)
    status = dupegrid.status(tmp_path / "run")
    assert (status.failed, status.failures) == ({}, [])


def test_a_threshold_set_by_cluster_stays(tmp_path: Path) -> None:
    """So do the settings that decide the roles, until they are given or unset."""
    for name in "ab":
        save(tmp_path / f"photos/{name}.png", 1)
    photos, settings = tmp_path / "photos", {"out": tmp_path / "run", "thumb": 16, "quiet": True}
    dupegrid.run(photos, cutoff=90, **settings)
    dupegrid.cluster(tmp_path / "run", threshold=20, keep="oldest, pixels unless gps", protect=photos)
    stays = dupegrid.run(photos, **settings)
    assert (stays.config.threshold, stays.config.cutoff) == (20, 90)
    assert (stays.config.keep, stays.config.protect) == (("oldest", "pixels unless gps"), (str(photos),))
    assert stays.clusters["reason"].to_pylist() == [None, "protected"]
    given = dupegrid.run(photos, threshold=30, keep="default", protect="none", **settings)
    assert (given.config.threshold, given.config.keep, given.config.protect) == (30, ("default",), ())
    assert given.clusters["role"].to_pylist() == ["keep", "duplicate"]
    with pytest.raises(DupegridError, match="cutoff 10 is below threshold 30"):
        dupegrid.run(photos, cutoff=10, **settings)
