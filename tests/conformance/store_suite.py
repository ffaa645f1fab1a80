"""What arrays keep to, wherever they are: a module for each kind of place gives `place`, and inherits a suite."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.storage.arrays import Arrays, Thumbs, Tiles
from dupegrid.storage.chunked import ChunkedArray, row_sums, stored_facts
from dupegrid.storage.ours import remove


class StoreSuite:
    """Tests of the arrays of a run at a place."""

    def test_what_is_written_is_read(self, place: Path) -> None:
        data = np.random.default_rng(0).integers(0, 60_000, (100, 5)).astype(np.uint16)
        array = ChunkedArray.describe(place / "thumbs.zarr", (100, 5), (32, 5), np.uint16, facts={"key": "x"})
        for number in range(4):
            array.write((number,), data[number * 32 : (number + 1) * 32])
        again = ChunkedArray(place / "thumbs.zarr")
        assert again.facts == {"key": "x"}
        np.testing.assert_array_equal(again.rows(), data)
        rows = np.array([99, 0, 31, 32, 99])
        np.testing.assert_array_equal(again.take(rows), data[rows])
        np.testing.assert_array_equal(again.take(rows, row_sums(data)[rows]), data[rows])
        assert again.done() == {(0, 0), (1, 0), (2, 0), (3, 0)}
        for number in range(4):
            assert again.checksum(number) == again.encoded(data[number * 32 : (number + 1) * 32]).checksum != ""

    def test_a_chunk_of_zeros_exists(self, place: Path) -> None:
        array = ChunkedArray.describe(place / "thumbs.zarr", (8, 3), (4, 3), np.uint8)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda number: array.write((number,), np.zeros((4, 3), np.uint8)), range(2)))
        assert len(ChunkedArray(place / "thumbs.zarr").done()) == 2

    def test_a_missing_chunk_is_an_error_that_names_it(self, place: Path) -> None:
        thumbs = Thumbs.create(place / "thumbs.zarr", 8, 4, 4, "key")
        thumbs.write((0,), np.ones((4, 4, 4, 3), np.uint8))
        with pytest.raises(StoreError, match="lacks 1 of 2"):
            thumbs.check_whole(4)
        with pytest.raises(DamagedError, match=r"thumbs\.zarr/c\.1\.0\.0\.0"):
            thumbs.rows(slice(0, 8))
        with pytest.raises(DamagedError, match=r"thumbs\.zarr/c\.1\.0\.0\.0"):
            thumbs.take(np.array([5]), np.zeros(1, np.uint64))
        thumbs.delete(0)
        assert thumbs.done() == set()
        assert thumbs.checksum(0) == ""

    @pytest.mark.parametrize("damage", ["missing", "short", "flipped", "empty"])
    def test_a_damaged_chunk_is_an_error_that_names_it(self, place: Path, damage: str) -> None:
        thumbs = Thumbs.create(place / "thumbs.zarr", 40, 8, 32, "key")
        for number, count in ((0, 32), (1, 8)):
            thumbs.write((number,), np.full((count, 8, 8, 3), 9, np.uint8))
        sums = row_sums(np.full((40, 8, 8, 3), 9, np.uint8))
        assert (thumbs.take(np.array([31, 0]), sums[:2]) == 9).all()
        file = place / "thumbs.zarr/c.0.0.0.0"
        data = file.read_bytes()
        changed = {"short": data[:-50], "flipped": data[:70] + b"x" + data[71:], "empty": b""}
        file.unlink() if damage == "missing" else file.write_bytes(changed[damage])
        named = r"thumbs\.zarr/c\.0\.0\.0\.0 is damaged"
        with pytest.raises(DamagedError, match=named):
            thumbs.rows(slice(0, 40))
        for number in (0, 31):
            with pytest.raises(DamagedError, match=named):
                thumbs.take(np.array([number]))
        if damage != "flipped":  # that is in another row
            with pytest.raises(DamagedError, match=named):
                thumbs.take(np.array([31]), sums[:1])
        with pytest.raises(DamagedError, match=named):
            thumbs.take(np.array([0]), sums[:1])
        assert thumbs.rows(slice(32, 40)).shape == (8, 8, 8, 3)

    @pytest.mark.parametrize("left", [0, 100, 9 * 3072])
    def test_a_chunk_that_ends_before_what_is_wanted_of_it_is_damaged(self, place: Path, left: int) -> None:
        """A server has no such part of it."""
        thumbs = Thumbs.create(place / "thumbs.zarr", 16, 32, 16, "key")
        ones = np.ones((16, 32, 32, 3), np.uint8)
        thumbs.write((0,), ones)
        file = place / "thumbs.zarr/c.0.0.0.0"
        file.write_bytes(file.read_bytes()[:left])
        assert thumbs.checksum(0) == ""
        for rows in ([15], [1, 12], [15, 2, 8]):
            with pytest.raises(DamagedError, match=r"thumbs\.zarr/c\.0\.0\.0\.0 is damaged \(it is short\)"):
                thumbs.take(np.array(rows), row_sums(ones[rows]))

    def test_arrays_grow_and_keep_what_they_hold(self, place: Path) -> None:
        shapes = {"x": ((4, 2), np.uint16), "y": ((4, 3), np.float32)}
        arrays = Arrays.create(place / "levels.zarr", shapes, 4)
        arrays.write("x", 0, np.ones((4, 2), np.uint16))
        arrays.grow(6)
        arrays.write("x", 4, np.full((2, 2), 2, np.uint16))
        arrays.sign("key", said=[1])
        again = Arrays(place / "levels.zarr")
        assert again.rows("x")[:, 0].tolist() == [1, 1, 1, 1, 2, 2]
        assert (len(again), again.fact("said"), again.names, again.is_whole()) == (6, [1], ["x", "y"], False)

    def test_marks_say_what_is_done(self, place: Path) -> None:
        facts = {"pairs": "a", "layout": "b", "tiles": 6}
        tiles = Tiles.create(place / "tiles.zarr", 3, 2, facts)
        tiles.mark(0, 2, np.array([0, 7]))
        again = Tiles(place / "tiles.zarr")
        assert {tile: counts.tolist() for tile, counts in again.counts().items()} == {(0, 2): [0, 7]}
        assert facts.items() <= stored_facts(place / "tiles.zarr").items()
        assert again.total == 6

    def test_what_is_removed_is_not_there(self, place: Path) -> None:
        for _ in range(2):
            thumbs = Thumbs.create(place / "thumbs.zarr", 8, 4, 4, "key")
            thumbs.write((0,), np.ones((4, 4, 4, 3), np.uint8))
            remove(place / "thumbs.zarr")
            with pytest.raises(StoreError, match="not there"):
                Thumbs(place / "thumbs.zarr")
        assert stored_facts(place / "thumbs.zarr") == {}
