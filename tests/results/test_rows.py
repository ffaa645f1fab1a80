"""Rows of images that are read a row group at a time are those of the whole table."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core.errors import DamagedError
from dupegrid.results.clusters import Asked, cluster_parts, clusters
from dupegrid.results.drawn.page import Found, as_json, json_pieces, page_of
from dupegrid.results.freed import freed_of
from dupegrid.results.rows import Rows
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.tables import write_tables
from tests.results.test_clusters import EVERY_PAIR, images_table, matches_table

ALL = images_table([(1 + k % 3, 1 + k % 5) for k in range(20)], {7: 2, 19: 2})


def stored(folder: Path, *tables: pa.Table) -> Rows:
    run_dir = RunDir(folder)
    write_tables(run_dir.images, IMAGES, tables, {})
    return Rows.stored(run_dir, 1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The images in row groups of 8, 8 and 4."""
    return stored(tmp_path_factory.mktemp("rows"), *(ALL.slice(start, 8) for start in (0, 8, 16)))


@given(places=st.lists(st.integers(0, 19), min_size=1, unique=True))
def test_they_are_those_of_the_table(rows: Rows, places: list[int]) -> None:
    ids, names = np.array(sorted(places)), ["path", "width", "id", "status"]
    wanted = ALL.select(names).take(pa.array(ids))
    assert rows.take(ids, names).equals(wanted)
    assert Rows.of(ALL).take(ids, names).equals(wanted)
    assert len(rows) == 20


def test_clusters_are_the_same(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    matches = matches_table([(a, a + step, 10.0 * step) for step in (1, 2) for a in range(0, 17, 4)])
    at_once = clusters(ALL, matches, 50, Asked(EVERY_PAIR))
    for name, count in (("_READ_AT_ONCE", 6), ("_ROWS_AT_ONCE", 4)):
        monkeypatch.setattr(f"dupegrid.results.clusters.{name}", count)
    parts = list(cluster_parts(rows, matches, 50, Asked(EVERY_PAIR)))
    assert len(parts) > 2
    assert pa.concat_tables(parts).equals(at_once)


def test_rows_that_no_run_writes_are_damage(tmp_path: Path) -> None:
    made_up = stored(tmp_path, ALL.slice(0, 8), ALL.slice(9))
    assert made_up.take(np.array([3]), ["path"]).num_rows == 1
    with pytest.raises(DamagedError, match="ids"):
        made_up.take(np.array([3, 12]), ["path"])


@pytest.mark.parametrize("claimed", [0, 1, 7, 9, 63])
def test_row_groups_that_claim_other_rows_are_damage(tmp_path: Path, claimed: int) -> None:
    """Numbers of rows are what memory is taken by, before any row is read."""
    stored(tmp_path, *(ALL.slice(start, 8) for start in (0, 8)))
    path = RunDir(tmp_path).images
    data = path.read_bytes()
    (size,) = struct.unpack("<I", data[-8:-4])
    end = data[-8 - size :]
    # Of a row group, by thrift's compact protocol: field 3, after field 2, is an int64, and 8 is written as 16.
    place = end.rindex(b"\x16\x10")
    path.write_bytes(data[: -8 - size] + end[:place] + bytes([0x16, 2 * claimed]) + end[place + 2 :])
    with pytest.raises(DamagedError, match="rows"):
        Rows.stored(RunDir(tmp_path), 1)


def test_a_page_of_pieces_is_that_of_the_tables(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matches = matches_table([(a, a + step, 10.0 * step) for step in (1, 2) for a in range(0, 17, 4)])
    table = clusters(ALL, matches, 50, Asked(EVERY_PAIR))
    write_tables(RunDir(tmp_path).clusters, CLUSTERS, [table.slice(start, 5) for start in range(0, len(table), 5)], {})
    pieces = Rows.stored_clusters(RunDir(tmp_path), len(ALL))
    assert freed_of(rows, pieces).tolist() == freed_of(ALL, table).tolist()
    wanted = page_of(Found(ALL, table, matches, None, 50))
    monkeypatch.setattr("dupegrid.results.drawn.page._AT_ONCE", 2)
    found = page_of(Found(rows, pieces, matches, None, 50))
    assert found.pictures.tolist() == wanted.pictures.tolist() != []
    assert "".join(json_pieces(found.data)) == "".join(json_pieces(wanted.data))
    assert "".join(json_pieces({"a": {}, "b": [1, None]})) == as_json({"a": {}, "b": [1, None]})


def test_files_of_several_names_are_told_in_pieces(tmp_path: Path) -> None:
    names = {
        "inode": [k % 10 for k in range(20)],
        "device": [1] * 20,
        "file_hash": [str(k % 10) for k in range(20)],
        "link_kind": ["hard"] * 19 + ["symbolic"],
    }
    images = ALL
    for name, values in names.items():
        place, field = IMAGES.names.index(name), IMAGES.field(name)
        images = images.set_column(place, field, pa.array(values, field.type))
    pieces = stored(tmp_path, *(images.slice(start, 8) for start in (0, 8, 16)))
    rows = [{"cluster": 0, "image": k, "role": "duplicate" if k else "keep", "keeper": 0} for k in range(16)]
    table = pa.Table.from_pylist(rows, CLUSTERS)
    assert freed_of(pieces, table).tolist() == freed_of(images, table).tolist()
    assert np.flatnonzero(freed_of(images, table)).tolist() == [1, 2, 3, 4, 5, 9]  # of 6 to 8 another name stays


@pytest.mark.parametrize(
    ("place", "name", "value"), [(0, "cluster", 1), (7, "cluster", 9), (7, "image", 20), (7, "role", None)]
)
def test_clusters_that_no_run_writes_are_damage(tmp_path: Path, place: int, name: str, value: object) -> None:
    matches = matches_table([(a, a + step, 10.0 * step) for step in (1, 2) for a in range(0, 17, 4)])
    made_up = clusters(ALL, matches, 50, Asked(EVERY_PAIR)).to_pylist()
    made_up[place][name] = value
    table = pa.Table.from_pylist(made_up, CLUSTERS)
    write_tables(RunDir(tmp_path).clusters, CLUSTERS, [table.slice(0, 5), table.slice(5)], {})
    with pytest.raises(DamagedError):
        list(Rows.stored_clusters(RunDir(tmp_path), len(ALL)).each(CLUSTERS.names))
