"""The arrays of a run: thumbnails, what is reckoned from them, and the marks that say which tiles are done."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import CHANNELS, Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.storage.chunked import ChunkedArray
from dupegrid.storage.ours import remove
from dupegrid.storage.zarr_store import ABOUT, OpenedArray, OpenedNode, create_group, opened_node, write_facts

NOT_DONE: Final = -1
_CHUNK_READS_BYTES: Final = 1 << 24  # of files: some 0.2 to 0.4 s of decoding,
_FILE_COSTS_BYTES: Final = 1 << 14  # where a small file takes as long as so many bytes of a large one
_MOST_CHUNKS: Final = 1 << 14
_MOST_ROWS: Final = 1 << 40  # far above any: what says more was made up

Shapes = Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]  # of arrays, by name, and their dtypes


class Thumbs(ChunkedArray):
    """thumbs.zarr: uint8 (n, S, S, 3) in chunks of `chunk` images, uncompressed, each with a checksum."""

    def __init__(self, path: Path, made: OpenedArray | None = None) -> None:
        super().__init__(path, made)
        self.chunk: int = self.chunks[0]
        self.side: int = self.shape[1]

    def _is_of_a_run(self) -> bool:
        side = self.shape[-2:][0]
        return self.dtype == np.uint8 and self.shape[1:] == self.chunks[1:] == (side, side, CHANNELS)

    @classmethod
    def create(cls, path: Path, images: int, side: int, chunk: int, key: str) -> "Thumbs":
        """An empty store for this many images, in place of whatever was there."""
        remove(path)
        return cls.described(path, images, side, chunk, key)

    @classmethod
    def described(cls, path: Path, images: int, side: int, chunk: int, key: str) -> "Thumbs":
        """The store, described anew where that is damaged; the chunks stay."""
        whole, chunks = (images, side, side, CHANNELS), (chunk, side, side, CHANNELS)
        return cls.describe(path, whole, chunks, np.uint8, facts={"key": key})

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def key(self) -> str:
        """Equal for stores in which the same file has the same thumbnail."""
        return str(self.facts["key"])

    def images_in(self, number: int) -> int:
        """Of how many images chunk `number` is: fewer in the last one."""
        return min(self.chunk, len(self) - number * self.chunk)

    def check_whole(self, side: int) -> None:
        """StoreError unless its thumbnails are of this side and every chunk exists: none is read as black pictures."""
        if side != self.side:
            raise DamagedError(self.path / ABOUT, f"it is of thumbnails of side {self.side}, not {side}")
        missing = self.count - len(self.done())
        if missing:
            raise StoreError(
                f"{self.path} lacks {missing} of {self.count} chunks: run 'dupegrid run' again to make them"
            )


class Arrays:
    """Named arrays in one folder, uncompressed with checksums, chunked along their first axis: levels, sorted."""

    def __init__(self, path: Path, made: OpenedNode | None = None) -> None:
        """StoreError where there is none, DamagedError where it was never finished."""
        self.path = path
        self._arrays: dict[str, ChunkedArray] = {}
        self._group, self._facts = made or opened_node(path)
        names, length = self._facts.get("arrays"), self._facts.get("length")
        if not isinstance(names, list) or not all(re.fullmatch(r"\w+", str(name)) for name in names):
            raise DamagedError(path / ABOUT, "it describes no arrays of a run")
        if type(length) is not int or not 0 <= length <= _MOST_ROWS:
            raise DamagedError(path / ABOUT, "it says no length of its arrays")
        self.names: list[str] = sorted(map(str, names))

    def __getitem__(self, name: str) -> ChunkedArray:
        """An array, opened when it is first asked for. DamagedError where there is none of the name that is whole."""
        if name not in self._arrays:
            try:
                array = ChunkedArray(self.path / name)
            except StoreError as error:  # what says that all is whole goes first, so that all is made again
                raise DamagedError(self.path / ABOUT, f"it is of arrays of which one is not whole: {error}") from None
            if array.shape[0] != self._facts["length"]:  # not len(self): of views there are more
                raise DamagedError(self.path / ABOUT, "its arrays have different lengths")
            self._arrays[name] = array
        return self._arrays[name]

    @classmethod
    def create(cls, path: Path, shapes: Shapes, chunk: int) -> "Arrays":
        """Arrays of these shapes and dtypes, in chunks of `chunk` rows, in place of whatever was there."""
        remove(path)
        path.mkdir(exist_ok=True)
        made = {
            name: ChunkedArray.describe(path / name, shape, (chunk, *shape[1:]), dtype)
            for name, (shape, dtype) in shapes.items()
        }
        (length,) = {shape[0] for shape, _ in shapes.values()}
        arrays = cls(path, create_group(path, {"arrays": list(shapes), "length": length}))
        arrays._arrays = made
        return arrays

    def check(self, shapes: Shapes) -> None:
        """DamagedError unless these are its arrays, with rows of these shapes and dtypes: a stranger's have others."""
        found = {name: (self[name].shape[1:], self[name].chunks[1:], self[name].dtype) for name in self.names}
        if found != {name: (shape[1:], shape[1:], dtype) for name, (shape, dtype) in shapes.items()}:
            raise DamagedError(self.path / ABOUT, "it is of arrays that no run makes")

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        """Say more facts, or others in place of those of the same names."""
        self._facts = {**self._facts, **facts}
        write_facts(self._group, self._facts)

    def sign(self, key: str, **facts: Any) -> None:
        """Say that the arrays are whole, what they were made from, and any facts; the last thing to do."""
        self._write_facts({"key": key, **facts})

    def fact(self, name: str) -> Any:
        """A fact that `sign` was given. KeyError where there is none of the name."""
        return self._facts[name]

    def write(self, name: str, start: int, values: npt.NDArray[Any]) -> None:
        """Write consecutive rows of an array from `start` on: whole chunks of it."""
        array, chunk = self[name], self.chunk(name)
        for begin in range(0, len(values), chunk):
            array.write(((start + begin) // chunk,), values[begin : begin + chunk])

    def __len__(self) -> int:
        """The rows of each array."""
        return int(self._facts["length"])

    def chunk(self, name: str) -> int:
        """The rows of a chunk of an array."""
        return self[name].chunks[0]

    def is_whole(self) -> bool:
        """Whether every chunk of every array exists."""
        return all(len(self[name].done()) == self[name].count for name in self.names)

    def checksum(self, number: int) -> str:
        """A digest of the checksums that chunk `number` of every array ends with."""
        return fingerprint([self[name].checksum(number) for name in self.names])

    def grow(self, rows: int) -> None:
        """Make room for more rows in every array."""
        for name in self.names:
            self[name].grow(rows)
        self._write_facts({"length": rows})

    def rows(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Consecutive rows of an array."""
        return self[name].rows(rows)

    def take(self, name: str, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[Any]:
        """The named rows of an array, in that order; with their checksums less may be read."""
        return self[name].take(rows, sums)


class Matrix(ChunkedArray):
    """mse.zarr: float64 (n, n) in square chunks, NaN where nothing is known; a chunk that exists is finished."""

    def _is_of_a_run(self) -> bool:
        return self.dtype == np.float64 and len(self.shape) == 2 and len({*self.shape}) == len({*self.chunks}) == 1

    @classmethod
    def create(cls, path: Path, images: int, side: int, facts: Mapping[str, str]) -> "Matrix":
        """An empty matrix, in place of whatever was there; `facts` say what it is of."""
        remove(path)
        return cls.describe(path, (images, images), (side, side), np.float64, float("nan"), facts)


class Tiles(ChunkedArray):
    """tiles.zarr: int64 (strips, strips, k); chunk (i, j) is the mark of tile (i, j) and holds its k counts."""

    def __init__(self, path: Path, made: OpenedArray | None = None) -> None:
        super().__init__(path, made)
        self.total: int = self.facts["tiles"]

    def _is_of_a_run(self) -> bool:
        as_marks = self.dtype == np.int64 and len(self.shape) == 3 and self.chunks == (1, 1, self.shape[2])
        return as_marks and type(self.facts.get("tiles")) is int

    @classmethod
    def create(cls, path: Path, strips: int, counts: int, facts: Mapping[str, Any]) -> "Tiles":
        """No tile done, in place of whatever was there.

        `facts` are the key of the `pairs` that are asked for, the key of their `layout`, how they are cut into tiles,
        and how many `tiles` there are to do.
        """
        remove(path)
        return cls.describe(path, (strips, strips, counts), (1, 1, counts), np.int64, NOT_DONE, facts)

    def counts(self) -> dict[tuple[int, int], Ints]:
        """The tiles whose mark exists and is whole, and the counts of each: int64 array of shape (k,)."""
        marked = sorted((number[0], number[1]) for number in self.done() if number[0] <= number[1])
        whole = {}
        with suppress(DamagedError):
            whole = {tile: counts.ravel() for tile, counts in zip(marked, self.read(marked), strict=True)}
        if len(whole) < len(marked):  # one is damaged
            for tile in marked:
                with suppress(DamagedError):
                    whole[tile] = next(self.read([tile])).ravel()
        return whole

    def mark(self, i: int, j: int, counts: Ints) -> None:
        """Say that tile (i, j) is done and what was counted in it."""
        self.write((i, j), counts.reshape(1, 1, -1))


def chunk_size(images: int, size_bytes: int) -> int:
    """Images a chunk, for files of so many bytes in all: a power of two from 4 to 512.

    Small where there are few images or large ones, so that every core is busy to the end; but the chunks are not more
    than _MOST_CHUNKS while that can be, as each is several files.
    """
    by_size = _CHUNK_READS_BYTES * images // max(1, size_bytes + images * _FILE_COSTS_BYTES)
    by_size = max(by_size, images // _MOST_CHUNKS)
    return int(max(4, min(512, 1 << (images // 32).bit_length(), 1 << by_size.bit_length())))
