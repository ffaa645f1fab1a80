"""The zarr stores of a run: thumbnails, and the marks that say which tiles are done. The only file that knows zarr.

One task writes one whole chunk, so a chunk that exists was finished. zarr leaves out chunks that equal the fill value,
reads missing ones as that value, and takes a millisecond or more for each; so chunks are written and read here, in
zarr's own format: uncompressed, little-endian, a crc32c at the end. zarr makes, describes and gives out the arrays.
"""

import math
import os
import shutil
import uuid
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import dask.array as da
import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from dupegrid.arrays import Float64s, Ints, Pixels
from dupegrid.config import CHANNELS
from dupegrid.errors import StoreError

NOT_DONE: Final = -1
_CHUNK_READS_BYTES: Final = 1 << 23  # of files: some 0.1 to 0.2 s of decoding
_CHECKSUM_BYTES: Final = 4
_FEW: Final = 8  # less than a chunk's eighth is read row by row


class Thumbs:
    """thumbs.zarr: uint8 (n, S, S, 3) in chunks of `chunk` images, uncompressed, each with a checksum."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _opened(path, "dupegrid index")
        self.chunk: int = self._array.chunks[0]
        self.side: int = self._array.shape[1]

    @classmethod
    def create(cls, path: Path, images: int, side: int, chunk: int, fingerprint: str) -> "Thumbs":
        """An empty store for this many images, in place of whatever was there."""
        _create(path, (images, side, side, CHANNELS), (chunk, side, side, CHANNELS), "uint8", 0, fingerprint)
        return cls(path)

    def __len__(self) -> int:
        return int(self._array.shape[0])

    @property
    def fingerprint(self) -> str:
        """Equal for stores in which the same file has the same thumbnail."""
        return str(self._array.attrs["fingerprint"])

    @property
    def chunks(self) -> int:
        """How many chunks a complete store holds."""
        return -(-len(self) // self.chunk)

    def check_whole(self) -> None:
        """StoreError unless every chunk exists: a missing one would be read as black pictures."""
        missing = self.chunks - len(self.done())
        if missing:
            raise StoreError(
                f"{self.path} lacks {missing} of {self.chunks} chunks: run 'dupegrid run' again to make them"
            )

    def done(self) -> set[int]:
        """The numbers of the chunks that exist."""
        return {k for k in range(self.chunks) if self.has(k)}

    def has(self, number: int) -> bool:
        """Whether chunk `number` exists."""
        return _chunk_path(self._array, self.path, number).exists()

    def unmark(self, number: int) -> None:
        """Remove chunk `number`, if it exists: what it vouches for is about to change."""
        _chunk_path(self._array, self.path, number).unlink(missing_ok=True)

    def grow(self, images: int) -> None:
        """Make room for more images; the chunk that was the last keeps what it holds."""
        self._array.resize((images, *self._array.shape[1:]))

    def write_chunk(self, number: int, thumbs: Pixels) -> None:
        """Write chunk `number` whole: uint8 array of shape (images in it, S, S, 3)."""
        _write_chunk(self._array, self.path, (number,), thumbs)

    def rows(self, rows: slice) -> Pixels:
        """Thumbnails of consecutive images: uint8 array of shape (k, S, S, 3)."""
        return _rows(self._array, self.path, rows)

    def take(self, rows: Ints) -> Pixels:
        """Thumbnails of the named images, in that order: uint8 array of shape (k, S, S, 3)."""
        return _take(self._array, self.path, rows)

    def as_dask(self) -> da.Array:
        """The same array, lazy: uint8 (n, S, S, 3)."""
        return da.from_zarr(self._array)


class Arrays:
    """Named arrays in one folder, uncompressed with checksums, chunked along their first axis: levels, sorted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._group = zarr.open_group(path, mode="r+", use_consolidated=False)
        except (OSError, ValueError, KeyError):
            raise StoreError(f"{path} is missing or damaged: delete the run directory and run again") from None
        self._arrays: dict[str, Any] = {}
        self._names = sorted(self._group.array_keys())

    @classmethod
    def create(cls, path: Path, shapes: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]], chunk: int) -> "Arrays":
        """Arrays of these shapes and dtypes, in chunks of `chunk` rows, in place of whatever was there."""
        shutil.rmtree(path, ignore_errors=True)
        group = zarr.create_group(path)
        for name, (shape, dtype) in shapes.items():
            group.create_array(
                name, shape=shape, chunks=(chunk, *shape[1:]), dtype=np.dtype(dtype), compressors=[Crc32cCodec()]
            )
        return cls(path)

    def sign(self, fingerprint: str, **facts: Any) -> None:
        """Say that the arrays are whole, what they were made from, and any facts; the last thing to do."""
        self._group.attrs.update({"fingerprint": fingerprint, **facts})

    def fact(self, name: str) -> Any:
        """What `sign` was told."""
        return self._group.attrs[name]

    def write(self, name: str, start: int, values: npt.NDArray[Any]) -> None:
        """Write consecutive rows of an array from `start` on: whole chunks of it."""
        array = self._named(name)
        for begin in range(0, len(values), array.chunks[0]):
            number = (start + begin) // array.chunks[0]
            _write_chunk(array, self.path / name, (number,), values[begin : begin + array.chunks[0]])

    def has(self, number: int) -> bool:
        """Whether chunk `number` of every array exists."""
        return all(_chunk_path(self._named(name), self.path / name, number).exists() for name in self._names)

    def grow(self, rows: int) -> None:
        """Make room for more rows in every array."""
        for name in self._names:
            self._group[name].resize((rows, *self._group[name].shape[1:]))
        self._arrays.clear()

    def rows(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Consecutive rows of an array."""
        return _rows(self._named(name), self.path / name, rows)

    def take(self, name: str, rows: Ints) -> npt.NDArray[Any]:
        """The named rows of an array, in that order."""
        return _take(self._named(name), self.path / name, rows)

    def _named(self, name: str) -> Any:
        if name not in self._arrays:  # opening one takes a millisecond
            self._arrays[name] = self._group[name]
        return self._arrays[name]


class Matrix:
    """mse.zarr: float64 (n, n) in square chunks, NaN where nothing is known; a chunk that exists is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _opened(path, "dupegrid run --matrix")
        self._side: int = self._array.chunks[0]

    @classmethod
    def create(cls, path: Path, images: int, side: int, fingerprint: str) -> "Matrix":
        """An empty matrix, in place of whatever was there."""
        _create(path, (images, images), (side, side), "float64", float("nan"), fingerprint)
        return cls(path)

    def done(self) -> set[tuple[int, int]]:
        """The chunks that exist."""
        side = range(-(-self._array.shape[0] // self._side))
        return {(i, j) for i in side for j in side if _chunk_path(self._array, self.path, i, j).exists()}

    def write(self, i: int, j: int, block: Float64s) -> None:
        """Write chunk (i, j) whole."""
        _write_chunk(self._array, self.path, (i, j), block)


class Tiles:
    """tiles.zarr: int64 (strips, strips, k); chunk (i, j) is the mark of tile (i, j) and holds its k counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _opened(path, "dupegrid compare")
        self.strips: int = self._array.shape[0]

    @classmethod
    def create(cls, path: Path, strips: int, counts: int, fingerprint: str) -> "Tiles":
        """No tile done, in place of whatever was there."""
        _create(path, (strips, strips, counts), (1, 1, counts), "int64", NOT_DONE, fingerprint)
        return cls(path)

    def done(self) -> set[tuple[int, int]]:
        """The tiles whose mark exists."""
        side = range(self.strips)
        return {(i, j) for i in side for j in side[i:] if _chunk_path(self._array, self.path, i, j).exists()}

    def counts(self, i: int, j: int) -> Ints:
        """The counts of a tile that is marked: int64 array of shape (k,). StoreError if the mark is damaged."""
        return _chunk(self._array, self.path, i, j).reshape(-1)

    def mark(self, i: int, j: int, counts: Ints) -> None:
        """Say that tile (i, j) is done and what was counted in it."""
        _write_chunk(self._array, self.path, (i, j), counts.reshape(1, 1, -1))


def _rows(array: Any, path: Path, rows: slice) -> npt.NDArray[Any]:
    """Consecutive rows of an array chunked along its first axis only.

    Chunks are read here and not by zarr, which takes a millisecond for each and gives the fill value for missing ones.
    StoreError where a chunk is missing or its checksum does not match.
    """
    start, stop, _ = rows.indices(array.shape[0])
    out = np.empty((max(0, stop - start), *array.shape[1:]), array.dtype)
    length = array.chunks[0]
    for number in range(start // length, -(-stop // length)):
        begin = number * length
        low, high = max(start, begin), min(stop, begin + length)
        out[low - start : high - start] = _chunk(array, path, number)[low - begin : high - begin]
    return out


def _take(array: Any, path: Path, rows: Ints) -> npt.NDArray[Any]:
    """The named rows of an array chunked along its first axis only, in that order.

    Chunks are uncompressed, so where few rows of one are wanted only their bytes are read. StoreError where a chunk is
    missing, short or, if read whole, damaged.
    """
    length, row_shape = array.chunks[0], array.shape[1:]
    out = np.empty((len(rows), *row_shape), array.dtype)
    flat = out.reshape(len(rows), math.prod(row_shape)).view(np.uint8)
    order = np.argsort(rows, kind="stable")
    numbers, offsets = np.divmod(rows[order], length)
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(order)] if len(order) else []
    folder, ending = f"{path}/c/", "/0" * len(row_shape)
    for begin, end in pairwise(cuts):
        number, places = int(numbers[begin]), order[begin:end]
        if (end - begin) * _FEW >= length:
            out[places] = _chunk(array, path, number)[offsets[begin:end]]
        else:
            _read_rows(f"{folder}{number}{ending}", offsets[begin:end].tolist(), places.tolist(), flat)
    return out


def _chunk_path(array: Any, path: Path, *number: int) -> Path:
    """Where a chunk is: `number` along the first axes, the others have one chunk. Unfinished ones have other names."""
    return path / "c" / "/".join([*map(str, number), *("0" for _ in array.shape[len(number) :])])


def _chunk(array: Any, path: Path, *number: int) -> npt.NDArray[Any]:
    """One whole chunk, its checksum verified."""
    file = _chunk_path(array, path, *number)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise StoreError(_damaged(file, error.strerror or str(error))) from None
    body = data[:-_CHECKSUM_BYTES]
    if len(body) != array.dtype.itemsize * math.prod(array.chunks):
        raise StoreError(_damaged(file, f"{len(data)} bytes"))
    if google_crc32c.value(body) != int.from_bytes(data[-_CHECKSUM_BYTES:], "little"):
        raise StoreError(_damaged(file, "its checksum does not match"))
    return np.frombuffer(body, array.dtype).reshape(array.chunks)


def _write_chunk(array: Any, path: Path, number: tuple[int, ...], values: npt.NDArray[Any]) -> None:
    """Write one chunk whole or not at all, with its checksum; what lies beyond the array is filled."""
    file = _chunk_path(array, path, *number)
    if values.shape == array.chunks and values.dtype == array.dtype:
        whole = values
    else:
        whole = np.full(array.chunks, array.fill_value, array.dtype)
        whole[tuple(slice(length) for length in values.shape)] = values
    data = whole.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as target:
            target.write(data)
            target.write(google_crc32c.value(data).to_bytes(_CHECKSUM_BYTES, "little"))
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _read_rows(file: str, offsets: list[int], places: list[int], out: Pixels) -> None:
    """The bytes of rows of one uncompressed chunk file, each to its place in `out`."""
    size = out.shape[1]
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            for offset, place in zip(offsets, places, strict=True):
                if os.preadv(descriptor, [out[place]], offset * size) != size:
                    raise StoreError(_damaged(file, "it is short"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(_damaged(file, error.strerror or str(error))) from None


def _damaged(file: Path | str, problem: str) -> str:
    return f"{file} is damaged ({problem}): delete the run directory and run again"


def stored_fingerprint(path: Path) -> str | None:
    """The fingerprint of a store, or None where there is no whole store."""
    try:
        fingerprint = zarr.open(path, mode="r").attrs.get("fingerprint")
    except (OSError, ValueError, KeyError):
        return None
    return None if fingerprint is None else str(fingerprint)


def chunk_size(images: int, size_bytes: int) -> int:
    """Images a chunk, for files of so many bytes in all: a power of two from 4 to 256.

    Small where there are few images or large ones, so that every core is busy to the end.
    """
    by_size = _CHUNK_READS_BYTES * images // max(1, size_bytes)
    return int(max(4, min(256, 1 << (images // 32).bit_length(), 1 << by_size.bit_length())))


def _create(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, fill: float, fingerprint: str
) -> None:
    shutil.rmtree(path, ignore_errors=True)
    zarr.create_array(
        store=path,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        compressors=[Crc32cCodec()],
        attributes={"fingerprint": fingerprint},
    )


def _opened(path: Path, verb: str) -> Any:
    try:
        return zarr.open_array(path, mode="r+")
    except (OSError, ValueError, KeyError):
        raise StoreError(f"{path} is missing or damaged: make it with '{verb}'") from None
