"""What is written here, any zarr reads; what is damaged or missing is never taken for data."""

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec

from dupegrid.core.errors import DamagedError
from dupegrid.pairs.matrix import lazy
from dupegrid.storage.arrays import Arrays, Matrix, Thumbs, Tiles
from dupegrid.storage.chunked import ChunkedArray, row_sums
from dupegrid.storage.places import DAMAGED


@pytest.mark.parametrize("images", [1, 31, 32, 33, 100])
def test_thumbs_are_plain_zarr(tmp_path: Path, images: int) -> None:
    data = np.random.default_rng(images).integers(0, 256, (images, 8, 8, 3)).astype(np.uint8)
    data[: images // 2] = 0  # a chunk of the fill value exists too
    thumbs = Thumbs.create(tmp_path / "thumbs.zarr", images, 8, 32, "mark")
    for number in range(thumbs.count):
        assert thumbs.done() == {(k, 0, 0, 0) for k in range(number)}
        thumbs.write((number,), data[number * 32 : number * 32 + 32])
    thumbs.check_whole(8)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "thumbs.zarr", mode="r")[:], data)
    np.testing.assert_array_equal(lazy(thumbs).compute(), data)


def test_any_zarr_reads_all_stores(tmp_path: Path) -> None:
    Thumbs.create(tmp_path / "thumbs", 5, 8, 4, "mark")
    Matrix.create(tmp_path / "matrix", 5, 4, {"images": "x"})
    Tiles.create(tmp_path / "tiles", 3, 2, {"tiles": 6})
    Arrays.create(tmp_path / "arrays", {"x": ((5, 2), np.uint16), "y": ((5, 3), np.float32)}, 4)
    for name in ("thumbs", "matrix", "tiles", "arrays/x", "arrays/y"):
        array = zarr.open_array(tmp_path / name, mode="r")
        assert [type(codec) for codec in array.metadata.codecs] == [BytesCodec, Crc32cCodec]
        assert array.metadata.chunk_key_encoding.separator == "."
    assert sorted(zarr.open_group(tmp_path / "arrays", mode="r")) == ["x", "y"]


@given(rows=st.lists(st.integers(0, 99), max_size=60), start=st.integers(0, 110), stop=st.integers(0, 110))
def test_rows_are_those_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], start: int, stop: int
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    data = np.random.default_rng(0).integers(0, 60000, (100, 5)).astype(np.uint16)
    arrays = Arrays.create(folder / "a.zarr", {"x": ((100, 5), np.uint16)}, 32)
    arrays.write("x", 0, data)
    arrays.sign("mark", fact=[1, 2])
    again = Arrays(folder / "a.zarr")
    assert again.fact("fact") == [1, 2]
    np.testing.assert_array_equal(again.take("x", np.array(rows, np.int64)), data[rows])
    np.testing.assert_array_equal(again.take("x", np.array(rows, np.int64), row_sums(data)[rows]), data[rows])
    np.testing.assert_array_equal(again.rows("x", slice(start, stop)), data[start:stop])
    np.testing.assert_array_equal(zarr.open_group(folder / "a.zarr", mode="r")["x"][:], data)


def test_chunks_of_zeros_exist_whatever_zarr_is_set_to_and_however_many_open_at_once(tmp_path: Path) -> None:
    ChunkedArray.describe(tmp_path / "a", (64, 3), (1, 3), np.uint8)

    def write(number: int) -> None:
        with zarr.config.set({"array.write_empty_chunks": False}):
            ChunkedArray(tmp_path / "a").write((number,), np.zeros((1, 3), np.uint8))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    assert len(ChunkedArray(tmp_path / "a").done()) == 64
    with zarr.config.set({"array.write_empty_chunks": False}):
        array = ChunkedArray(tmp_path / "a")
        array.grow(65)
        array.write((64,), np.zeros((1, 3), np.uint8))
    assert ChunkedArray(tmp_path / "a").rows().shape == (65, 3)


def test_marks_and_matrix_are_plain_zarr(tmp_path: Path) -> None:
    tiles = Tiles.create(tmp_path / "tiles.zarr", 3, 2, {"tiles": 6})
    tiles.mark(0, 2, np.array([0, 7]))
    assert zarr.open_array(tmp_path / "tiles.zarr", mode="r")[0].tolist() == [[-1, -1], [-1, -1], [0, 7]]
    matrix = Matrix.create(tmp_path / "mse.zarr", 5, 4, {"images": "x"})
    matrix.write((0, 1), np.arange(4.0).reshape(4, 1))
    assert matrix.done() == {(0, 1)}
    assert zarr.open_array(tmp_path / "mse.zarr", mode="r")[:4, 4].tolist() == [0, 1, 2, 3]


def test_a_damaged_mark_does_not_count_and_leaves_no_note(tmp_path: Path) -> None:
    tiles = Tiles.create(tmp_path / "tiles.zarr", 3, 2, {"tiles": 6})
    for j in range(3):
        tiles.mark(0, j, np.array([0, j]))
    mark = tiles.file(0, 1)
    mark.write_bytes(mark.read_bytes()[:-1] + b"x")
    assert {tile: counts.tolist() for tile, counts in tiles.counts().items()} == {(0, 0): [0, 0], (0, 2): [0, 2]}
    assert not (tiles.path / DAMAGED).exists()


def test_a_damaged_chunk_behind_a_link_leaves_no_note(tmp_path: Path) -> None:
    """Whoever made a run directory up may lead into any folder: of levels.zarr, what is in it is not looked at."""
    levels = tmp_path / "levels.zarr"
    levels.mkdir()
    array = ChunkedArray.describe(levels / "cosines", (4, 3), (4, 3), np.uint8)
    array.file(0).write_bytes(b"x" * 16)
    (levels / "sums").symlink_to(array.path)
    with pytest.raises(DamagedError, match="checksum"):
        ChunkedArray(levels / "sums").rows()
    assert not (array.path / DAMAGED).exists()
    with pytest.raises(DamagedError, match="checksum"):
        array.rows()
    assert (array.path / DAMAGED).exists()


def test_arrays_are_read_and_written_where_a_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell() -> int:
        array = ChunkedArray.describe(tmp_path / "a", (4, 3), (4, 3), np.uint8)
        array.write((0,), np.full((4, 3), 7, np.uint8))
        return int(ChunkedArray(tmp_path / "a").rows().sum())

    assert asyncio.run(cell()) == 84


def test_what_earlier_versions_described_is_read(tmp_path: Path) -> None:
    """One of them was killed while the array grew: its length was said, and its shape not changed yet."""
    before, killed = tmp_path / "before", tmp_path / "killed"
    Thumbs.create(before, 5, 8, 4, "mark")
    about = json.loads((before / "zarr.json").read_text())
    assert about["attributes"]["digest"] == "37835f56ee456ff3199b66f4"
    shutil.copytree(before, killed)
    Thumbs(killed).grow(7)
    grown = json.loads((killed / "zarr.json").read_text())
    (killed / "zarr.json").write_text(json.dumps({**grown, "shape": about["shape"]}))
    assert (Thumbs(before).shape, Thumbs(killed).shape) == ((5, 8, 8, 3), (7, 8, 8, 3))
    Arrays.create(tmp_path / "arrays", {"x": ((5, 2), np.uint16)}, 4)
    assert json.loads((tmp_path / "arrays/zarr.json").read_text())["attributes"]["digest"] == "522ee48457c000475fa8836a"
