"""Exports to files, read back by the tools that they are for: the same rows, whatever the names of the pictures."""

import csv
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dupegrid
from dupegrid.core.errors import DupegridError, StoreError, UsageError
from dupegrid.results.export_sqlite import write_sqlite
from dupegrid.results.export_tables import formula_safe
from dupegrid.results.joined import Selection, selected
from tests.conftest import draw_tree, tree_state
from tests.helpers.forks import command
from tests.helpers.hostile import hostile_run

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
FORMULA = re.compile(r"(^|[;\t\r\n])'((?:[^\S\t\r\n]|['\"])*[=+\-@＝＋－＠])")  # as docs/how-to/export.md has it


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return hostile_run(tmp_path_factory.mktemp("hostile"))


def path_of(row: dict[str, Any], path: str = "path") -> bytes:
    """The exact path in a row of CSV or JSON, as the page says to get it."""
    raw = row[path.replace("path", "path_raw")]
    return bytes.fromhex(raw) if raw else row[path].encode()


def paths(rows: list[dict[str, Any]], *columns: str) -> list[tuple[bytes, ...]]:
    return [tuple(row[name] for name in columns) for row in rows]


@pytest.mark.parametrize("table", ["images", "matches", "clusters"])
def test_parquet_is_the_table_with_what_is_joined(run: dupegrid.Run, tmp_path: Path, table: str) -> None:
    of_images = {row["id"]: row for row in run.images.to_pylist()}
    of_clusters = {row["image"]: row for row in run.clusters.to_pylist()}
    rows = getattr(run, table).to_pylist()
    if table == "matches":
        columns = ["b", "mse", "width_a", "path_raw_b", "file_hash_b"]
        sides = [(row, of_images[row["a"]], of_images[row["b"]]) for row in rows]
        expected = [(row["b"], row["mse"], a["width"], b["path_raw"], b["file_hash"]) for row, a, b in sides]
    elif table == "clusters":
        columns = ["role", "width", "keeper_path_raw"]
        expected = [(r["role"], of_images[r["image"]]["width"], of_images[r["keeper"]]["path_raw"]) for r in rows]
    else:
        columns = ["path_raw", "role", "keeper_path_raw"]
        keepers = [of_clusters.get(row["id"]) for row in rows]
        expected = [
            (row["path_raw"], k and k["role"], k and of_images[k["keeper"]]["path_raw"])
            for row, k in zip(rows, keepers, strict=True)
        ]
    file = tmp_path / "x.parquet"
    assert dupegrid.export(run, file, table=table, columns=columns).counts == {table: len(rows)}
    assert duckdb.sql(f"SELECT * FROM '{file}'").fetchall() == expected
    read = pd.read_parquet(file)
    assert list(read.columns) == columns
    assert len(read) == len(expected) > 0
    dupegrid.export(run, file, table=table, replace=True)
    assert pq.read_table(file).to_pylist() == rows


@pytest.mark.parametrize("table", ["images", "matches", "clusters"])
def test_csv_and_json_lines_have_the_same_rows(run: dupegrid.Run, tmp_path: Path, table: str) -> None:
    dupegrid.export(run, tmp_path / "x.csv", table=table)
    dupegrid.export(run, tmp_path / "x.jsonl", table=table)
    with open(tmp_path / "x.csv", newline="") as file:
        of_csv = [{k: FORMULA.sub(r"\1\2", v) for k, v in row.items()} for row in csv.DictReader(file)]
    of_json = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("ascii").split("\n")[:-1]]
    rows = getattr(run, table).to_pylist()
    names = [name for name in rows[0] if name.startswith("path") and "raw" not in name]
    for read in (of_csv, of_json):
        raw = [[row[name.replace("path", "path_raw")] for name in names] for row in rows]
        assert [[path_of(row, name) for name in names] for row in read] == raw
    others = [name for name in rows[0] if "path_raw" not in name]
    told = [{name: str(v) if name == "taken_at" and v else v for name, v in row.items()} for row in rows]
    assert paths(of_json, *others) == paths(told, *others)
    for row, known in zip(of_csv, told, strict=True):
        for name in others:
            value = known[name]
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert type(value)(row[name]) == value
            else:
                assert row[name] == ("" if value is None else str(value).lower() if value in (True, False) else value)
    frame = pd.read_csv(tmp_path / "x.csv", lineterminator=None)
    assert len(frame) == len(pd.read_json(tmp_path / "x.jsonl", lines=True)) == len(rows)
    assert duckdb.sql(f"SELECT count(*) FROM read_json('{tmp_path}/x.jsonl')").fetchall() == [(len(rows),)]


def formulas(text: str) -> list[str]:
    """The cells of some CSV that a spreadsheet takes for formulas, where its columns are parted by , or ; or tabs."""
    cells = [
        cell for sign in ",;\t" for row in csv.reader(io.StringIO(text, newline=""), delimiter=sign) for cell in row
    ]
    cells += re.split("[;\t\r\n]", text)  # quotes are not heeded in the middle of a cell
    return [cell for cell in cells if re.match(rf"[\s\"]*[{re.escape(SIGNS)}]", cell)]


def test_no_spreadsheet_finds_a_formula(run: dupegrid.Run, tmp_path: Path) -> None:
    for name, options in (("a.csv", {}), ("b.csv", {"table": "clusters"}), ("c.csv", {"format": "duplicates"})):
        dupegrid.export(run, tmp_path / name, **options)
        text = (tmp_path / name).read_bytes().decode()
        assert not formulas(text)
    assert [formulas(text) != [] for text in ('"=1"', '0,"a;=1"', '0,"a;""=1"', '0,"a\n-1"', '0,"a=1"')] == [
        True
    ] * 4 + [False]


@given(st.text(alphabet=SIGNS + "a \t\r\n;,'\"\u00a0\u2028\x1f\\"))
def test_what_would_be_a_formula_can_be_got_back(text: str) -> None:
    (safe,) = formula_safe(pa.table({"x": [text]}))["x"].to_pylist()
    assert FORMULA.sub(r"\1\2", safe) == text
    assert not re.search(rf"(^|[;\t\r\n])[^\S\t\r\n\"]*[{re.escape(SIGNS)}]", safe)
    assert (safe == text) == (not re.search(rf"(^|[;\t\r\n])(?:[^\S\t\r\n]|['\"])*[{re.escape(SIGNS)}]", text))


def test_sqlite_has_the_tables(run: dupegrid.Run, tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    with sqlite3.connect(file) as before:
        before.execute("CREATE TABLE mine (x)")
        before.execute("INSERT INTO mine VALUES (1)")
    before.close()
    for _ in range(2):
        counts = dupegrid.export(run, file).counts
    assert counts == {name: len(getattr(run, name)) for name in ("images", "matches", "clusters")}
    read = sqlite3.connect(file)
    assert read.execute("SELECT * FROM mine").fetchall() == [(1,)]
    for name in counts:
        kept = [field for field in getattr(run, name).column_names if name == "images" or "path_raw" not in field]
        rows = getattr(run, name).select(kept).to_pylist()
        told = [tuple(str(v) if k == "taken_at" and v else v for k, v in row.items()) for row in rows]
        assert read.execute(f"SELECT * FROM dupegrid_{name} ORDER BY 1, 2").fetchall() == sorted(told)
    read.close()


def test_in_sqlite_only_our_own_tables_are_replaced(run: dupegrid.Run, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    connection = sqlite3.connect(file)
    for kind in ("TABLE dupegrid_matches (x)", "VIEW dupegrid_matches AS SELECT 1", "TABLE DUPEGRID_MATCHES (x)"):
        connection.execute(f"CREATE {kind}")
        connection.commit()
        with pytest.raises(UsageError, match=r"(?i)has a dupegrid_matches that dupegrid did not make"):
            dupegrid.export(run, file)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchall() == [(1,)]
        connection.execute(f"DROP {kind.split()[0]} dupegrid_matches")
        connection.commit()
    connection.close()
    dupegrid.export(run, f"sqlite:///{file}", prefix="mine_")
    read = sqlite3.connect(file)
    assert read.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1").fetchall() == [
        (f"mine_{name}",) for name in ("clusters", "images", "matches")
    ]
    read.close()
    (tmp_path / "y.db").write_text("a letter, which is no database at all, and is longer than a header of one is")
    with pytest.raises(UsageError, match="is no SQLite file"):
        dupegrid.export(run, tmp_path / "y.db")
    assert (tmp_path / "y.db").read_text().startswith("a letter")


class Watched(Selection):
    """Rows in many batches, with something done before the last."""

    def batches(self) -> Any:
        yield self.whole()
        self.meanwhile()  # type: ignore[attr-defined]


def watched(rows: Selection, meanwhile: Any) -> Selection:
    found = Watched(rows.columns, rows.length)
    object.__setattr__(found, "meanwhile", meanwhile)
    return found


def test_who_reads_sqlite_meanwhile_sees_the_old_rows(run: dupegrid.Run, tmp_path: Path) -> None:
    many = pa.table({"id": range(60_000), "path": [f"/{n:060d}" for n in range(60_000)]})  # more than its cache holds
    rows = selected("images", None, type("Tables", (), {"images": many}))
    few = selected("images", None, type("Tables", (), {"images": many[:3]}))
    file = tmp_path / "x.sqlite"
    seen: list[Any] = []

    def look() -> None:
        reader = sqlite3.connect(file, timeout=0)
        seen.append(reader.execute("SELECT count(*) FROM dupegrid_images").fetchone()[0])
        reader.close()

    def fail() -> None:
        look()
        raise RuntimeError("stopped")

    with pytest.raises(DupegridError, match="no such table"):
        write_sqlite(file, "dupegrid_", {"images": watched(rows, fail)})
    assert not file.exists()
    write_sqlite(file, "dupegrid_", {"images": few})
    with pytest.raises(RuntimeError, match="stopped"):
        write_sqlite(file, "dupegrid_", {"images": watched(rows, fail)})
    look()
    write_sqlite(file, "dupegrid_", {"images": watched(rows, look)})
    look()
    assert seen == [3, 3, 3, 60_000]


def test_duckdb_reads_the_run_by_views(run: dupegrid.Run, tmp_path: Path) -> None:
    moved = tmp_path / "it's [1] *"
    shutil.copytree(run.path, moved)
    dupegrid.export(moved, tmp_path / "views.sql", prefix="v_")
    database = duckdb.connect()
    for _ in range(2):
        database.sql((tmp_path / "views.sql").read_text())
    for name in ("images", "matches", "clusters"):
        read = database.sql(f"SELECT * FROM v_{name}").to_arrow_table()
        assert read.select(getattr(run, name).column_names).to_pylist() == getattr(run, name).to_pylist()


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
