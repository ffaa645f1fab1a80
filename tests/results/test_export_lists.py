"""Lists for other tools, a script of the shell, and calls that are refused: nothing of the user's is written over."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, StoreError, UsageError
from tests.conftest import draw_tree, save, tree_state
from tests.helpers.exports import FORMULA, SIGNS
from tests.helpers.forks import command


@pytest.fixture
def run(hostile: dupegrid.Run) -> dupegrid.Run:
    return hostile


def duplicates(run: dupegrid.Run) -> list[tuple[bytes, bytes]]:
    raw = dict(zip(*(run.images[name].to_pylist() for name in ("id", "path_raw")), strict=True))
    rows = [row for row in run.clusters.to_pylist() if row["role"] == "duplicate"]
    return [(raw[row["image"]], raw[row["keeper"]]) for row in rows]


def test_difpy_and_a_list_of_duplicates(run: dupegrid.Run, tmp_path: Path) -> None:
    dupegrid.export(run, tmp_path / "x.json")
    result = json.loads((tmp_path / "x.json").read_text())
    found = [(os.fsencode(path), os.fsencode(k), mse) for k, listed in result.items() for path, mse in listed]
    assert found == [(*pair, 0.0) for pair in duplicates(run)]
    done = dupegrid.export(run, tmp_path / "x.csv", format="duplicates")
    with open(tmp_path / "x.csv", newline="") as file:
        rows = [tuple(FORMULA.sub(r"\1\2", cell).encode() for cell in row) for row in csv.reader(file)]
    text = [pair for pair in duplicates(run) if not any(b"\xff" in path for path in pair)]
    assert rows == [(b"duplicate", b"keeper"), *text]
    assert done.counts == {"duplicates": len(text), "left_out_not_utf8": len(duplicates(run)) - len(text)}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_script_does_nothing_as_it_is_and_names_every_file(run: dupegrid.Run, tmp_path: Path, shell: str) -> None:
    before = tree_state(run.path.parent / "pictures")
    file = tmp_path / "x.sh"
    dupegrid.export(run, file)
    said = subprocess.run([shell, file], cwd=tmp_path, capture_output=True, check=True)
    assert said.stdout == b"".join(b"%s\n    is a duplicate of %s\n" % pair for pair in duplicates(run))
    own = file.read_bytes().replace(b"printf '%s\\n    is a duplicate of %s\\n'", b"printf '%s\\0%s\\0'")
    file.write_bytes(own)
    said = subprocess.run([shell, file], cwd=tmp_path, capture_output=True, check=True)
    assert said.stdout.split(b"\0")[:-1] == [path for pair in duplicates(run) for path in pair]
    assert said.stderr == b""
    assert [name.name for name in tmp_path.iterdir()] == ["x.sh"]
    assert tree_state(run.path.parent / "pictures") == before


def test_fiftyone_and_hugging_face(run: dupegrid.Run, tmp_path: Path) -> None:
    done = dupegrid.export(run, tmp_path / "x.csv", format="fiftyone")
    text = [path for path in run.images["path_raw"].to_pylist() if b"\xff" not in path]
    assert done.counts == {"images": len(text), "left_out_not_utf8": 2}
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["filepath"].encode() for row in rows] == text
    assert all(os.path.exists(row["filepath"]) for row in rows)
    roles = dict(zip(*(run.clusters[name].to_pylist() for name in ("path_raw", "role")), strict=True))
    assert [row["role"] for row in rows] == [roles.get(path, "") for path in text]
    folder = run.path.parent / "pictures/=a"
    dupegrid.export(run, tmp_path / "metadata.csv", under=folder)
    with open(tmp_path / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    there = {os.path.join(folder, os.path.normpath(row["file_name"])) for row in rows}  # as the library opens them
    assert there == {path.decode() for path in text if path.startswith(os.fsencode(folder))}
    assert all(row["file_name"][0] not in SIGNS for row in rows)
    with pytest.raises(UsageError, match="no picture of the run is below"):
        dupegrid.export(run, tmp_path / "metadata.csv", replace=True)


def test_pictures_in_an_archive_are_left_out_of_what_opens_files(tmp_path: Path) -> None:
    tree = draw_tree(tmp_path / "tree")
    shutil.make_archive(str(tmp_path / "pictures"), "zip", tree)
    run = dupegrid.run(tree, tmp_path / "pictures.zip", out=tmp_path / "run", thumb=16, quiet=True)
    assert dupegrid.export(run, tmp_path / "x.sh").counts["left_out_no_file"] > 0
    assert str(tmp_path / "pictures.zip") not in (tmp_path / "x.sh").read_text().partition("\nd ")[2]
    counts = dupegrid.export(run, tmp_path / "x.csv", format="fiftyone").counts
    assert counts["images"] == counts["left_out_no_file"]
    with pytest.raises(UsageError, match="what the run is of"):
        dupegrid.export(run, tmp_path / "pictures.zip", format="csv", replace=True)


def test_coco_and_yolo_lists_without_their_duplicates(run: dupegrid.Run, tmp_path: Path) -> None:
    folder = run.path.parent / "pictures"
    names = ["first.png", "=a/-rf.png", "b;-b/plain.png", "other.png", "unknown.png"]
    images = [{"id": place, "file_name": name, "license": 7} for place, name in enumerate(names)]
    marks = [{"id": place, "image_id": place % 5, "bbox": [1, 2, 3, 4]} for place in range(10)]
    coco = {"info": {"é": 1}, "images": images, "annotations": marks, "categories": [{"id": 1}]}
    (tmp_path / "in.json").write_text(json.dumps(coco))
    done = dupegrid.export(run, tmp_path / "out.json", filter=tmp_path / "in.json")
    (keeper,) = {os.path.relpath(os.fsdecode(path), folder) for _, path in duplicates(run)}
    kept = [place for place, name in enumerate(names) if name in (keeper, "other.png", "unknown.png")]
    assert keeper in names
    filtered = json.loads((tmp_path / "out.json").read_text())
    assert filtered == coco | {
        "images": [images[place] for place in kept],
        "annotations": [mark for mark in marks if mark["image_id"] in kept],
    }
    assert (done.counts["images"], done.counts["left_out_duplicates"]) == (3, 2)
    assert done.counts["kept_though_not_in_the_run"] == 1
    lines = [b"./" + name.encode() for name in names] + [os.fsencode(folder) + b"/=a/not utf8 \xff\xfe.png", b""]
    (tmp_path / "in.txt").write_bytes(b"\r\n".join(lines))
    dupegrid.export(run, tmp_path / "out.txt", filter=tmp_path / "in.txt", under=folder)
    assert (tmp_path / "out.txt").read_bytes() == b"".join(lines[place] + b"\r\n" for place in kept)


@pytest.mark.parametrize("under", [None, "."])
def test_names_in_a_list_are_found_as_they_are_typed(tmp_path: Path, under: str | None) -> None:
    """macOS takes the accents of file names apart, and who writes a list types them in one."""
    apart, typed = "Se\u0301jour", "S\u00e9jour"
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / apart / name, 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    (tmp_path / "in.txt").write_text(f"{typed}/a.png\n{typed}/b.png\n")
    options = {} if under is None else {"under": tmp_path / "photos"}
    done = dupegrid.export(run, tmp_path / "out.txt", filter=tmp_path / "in.txt", **options)
    assert (done.counts["images"], done.counts["left_out_duplicates"]) == (1, 1)


def test_a_list_keeps_what_its_keeper_is_not_in_and_refuses_what_may_be_several(
    run: dupegrid.Run, tmp_path: Path
) -> None:
    (keeper,) = {path for _, path in duplicates(run)}
    others = [path for path, _ in duplicates(run) if b"\n" not in path]
    assert keeper not in others
    (tmp_path / "in.txt").write_bytes(b"\n".join(others))
    counts = dupegrid.export(run, tmp_path / "out.txt", filter=tmp_path / "in.txt").counts
    assert counts == {"images": len(others), "kept_as_their_keeper_is_not_listed": len(others)}
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "in.txt").read_bytes()
    (tmp_path / "in.txt").write_text("plain.png")
    with pytest.raises(UsageError, match=r"2 pictures of the run end with plain\.png"):
        dupegrid.export(run, tmp_path / "out.txt", filter=tmp_path / "in.txt", replace=True)
    (tmp_path / "in.txt").write_text("a.png\nb.png\n")
    with pytest.raises(UsageError, match="none of the 2 pictures in the list"):
        dupegrid.export(run, tmp_path / "out.txt", filter=tmp_path / "in.txt", replace=True)
    for text in ("[]", "{", '{"images": [{"id": 1}]}', '{"images": [{"id": [], "file_name": "first.png"}]}'):
        (tmp_path / "in.json").write_text(text)
        with pytest.raises(UsageError, match="no COCO JSON"):
            dupegrid.export(run, tmp_path / "o.json", filter=tmp_path / "in.json")
    assert not (tmp_path / "o.json").exists()


def test_what_is_there_stays_as_it_is(run: dupegrid.Run, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(tmp_path / "mine.csv")
    picture = run.path.parent / "pictures/other.png"
    before = tree_state(run.path.parent)
    for to, problem in (
        (tmp_path / "mine.csv", "--replace"),
        (tmp_path / "none/x.csv", "there is no folder"),
        (run.path / "x.csv", "in a run directory"),
        (run.path / "matches.parquet/part-9.parquet", "in a run directory"),
    ):
        with pytest.raises(UsageError, match=problem):
            dupegrid.export(run, to)
    for to, problem in (
        (tmp_path / "link.csv", "no regular file"),
        (tmp_path, "no regular file"),
        (picture, "what the run is of"),
        (run.path / "clusters.parquet", "in a run directory"),
    ):
        with pytest.raises(UsageError, match=problem):
            dupegrid.export(run, to, format="csv", replace=True)
    assert tree_state(run.path.parent) == before
    assert (tmp_path / "mine.csv").read_text() == "mine"
    with pytest.raises(DupegridError, match="cannot write"):
        dupegrid.export(run, tmp_path / ("n" * 250 + ".csv"))
    dupegrid.export(run, tmp_path / "mine.csv", replace=True)
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "mine.csv").read_text().startswith('"a","b",')


def test_calls_that_have_to_be_put_right(run: dupegrid.Run, tmp_path: Path) -> None:
    for to, options, problem in (
        ("x", {}, "names no format by its ending"),
        ("x.csv", {"format": "excel"}, "no format 'excel'"),
        ("x.csv", {"columns": "a,widths_b"}, "no column 'widths_b' for matches: there are a, b, "),
        ("x.csv", {"columns": "a,a"}, "named twice"),
        ("x.csv", {"table": "pairs"}, "no table 'pairs'"),
        ("x.csv", {"prefix": "x_"}, "csv takes no --prefix"),
        ("x.sqlite", {"prefix": 'x"'}, "prefix is 'x\"'"),
        ("x.txt", {}, "--filter"),
        ("x.txt", {"filter": "none.txt"}, "cannot read"),
        ("s3://bucket/x.csv", {"format": "csv"}, "all else to a file"),
    ):
        with pytest.raises(UsageError, match=problem):
            dupegrid.export(run, to if "://" in to else tmp_path / to, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_run_and_one_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    run = dupegrid.run(tmp_path / "none", out=tmp_path / "run", thumb=16, quiet=True)
    for name in ("x.parquet", "x.csv", "x.jsonl", "x.json", "x.sh", "x.sqlite", "x.sql"):
        dupegrid.export(run, tmp_path / name)
    assert (tmp_path / "x.csv").read_text().startswith('"a","b",')
    assert pd.read_parquet(tmp_path / "x.parquet").empty
    assert json.loads((tmp_path / "x.json").read_text()) == {}
    tree = draw_tree(tmp_path / "tree")
    begun = dupegrid.index(tree, out=tmp_path / "begun", thumb=16, quiet=True)
    done = command("export", begun.path, "--to", tmp_path / "i.csv", "--table", "images", "--columns", "id,path,status")
    assert (done.returncode, done.stdout.split()[:3]) == (0, ["csv", "images", "5"])
    with pytest.raises(StoreError, match="not there yet"):
        dupegrid.export(begun, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
