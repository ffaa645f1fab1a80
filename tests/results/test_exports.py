"""Tables in files and SQLite, read back by the tools that they are for: equal rows, whatever the names of pictures."""

import csv
import io
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dupegrid
from dupegrid.app.command import verbs_hand_on
from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.results.export.joined import selected
from dupegrid.results.export.sqlite import write_sqlite
from dupegrid.results.export.tables import formula_safe
from dupegrid.results.rows import Rows
from tests.conftest import ROOT
from tests.helpers.exports import FORMULA, SIGNS, watched
from tests.helpers.forks import command


@pytest.fixture
def run(hostile: dupegrid.Run) -> dupegrid.Run:
    return hostile


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
    import duckdb  # here, as below: most processes of `make test` do without

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
    import duckdb

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
    assert FORMULA.pattern in (ROOT / "docs/how-to/export.md").read_text()
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


def test_who_reads_sqlite_meanwhile_sees_the_old_rows(run: dupegrid.Run, tmp_path: Path) -> None:
    many = pa.table({"id": range(60_000), "path": [f"/{n:060d}" for n in range(60_000)]})  # more than its cache holds
    rows = selected("images", None, type("Tables", (), {"images": Rows.of(many)}))
    few = selected("images", None, type("Tables", (), {"images": Rows.of(many[:3])}))
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
    import duckdb

    moved = tmp_path / "it's [1] *"
    shutil.copytree(run.path, moved)
    dupegrid.export(moved, tmp_path / "views.sql", prefix="v_")
    database = duckdb.connect()
    for _ in range(2):
        database.sql((tmp_path / "views.sql").read_text())
    for name in ("images", "matches", "clusters"):
        read = database.sql(f"SELECT * FROM v_{name}").to_arrow_table()
        assert read.select(getattr(run, name).column_names).to_pylist() == getattr(run, name).to_pylist()


def test_a_dash_is_standard_output_and_no_file(
    run: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dupegrid.export(run, tmp_path / "x.csv", format="duplicates")
    said = command("export", run.path, "--to", "-", "--format", "duplicates", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (0, (tmp_path / "x.csv").read_text())
    assert os.listdir(tmp_path) == ["x.csv"]
    for more in (["--json"], ["--format", "huggingface"]):
        refused = command("export", run.path, "--to", "-", *more, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "does not go with --to -: name a file" in refused.stderr
    monkeypatch.setattr("sys.stdout", None)  # as >&- of a shell has it
    verbs_hand_on.export(str(run.path), "-")
