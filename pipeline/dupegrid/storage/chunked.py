"""Arrays in chunks, as the stages use them: whole chunks, rows, marks that are listed. The only file that knows zarr.

A chunk exists only when it is whole, also where all of it is the fill value; one that is missing or damaged is an
error, never zeros. Chunks are uncompressed and end with a crc32c, so that rows that are wanted alone can be read alone.
zarr describes an array, and any reader of zarr opens it; what a chunk is then leaves no choice (decision 0041).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import google_crc32c
import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import check_hold
from dupegrid.storage.parts import names_in, read_at
from dupegrid.storage.tables import read_bytes, read_error, sealed, unsealed, write_bytes

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
CHECKSUM_BYTES: Final = 4  # at the end of each chunk
# Far above any that is written: what says more was made up.
_LARGEST_CHUNK_BYTES: Final = 1 << 31
_MOST_CHUNKS: Final = 1 << 40
_ASKED_AT_ONCE: Final = 64  # chunks of a bucket,
_BYTES_AT_ONCE: Final = 1 << 25  # or so many of them
_ROW_COSTS_BYTES: Final = 1 << 13  # reading a row by itself takes as long as reading so much of a chunk at once
_CHUNK_NAME: Final = re.compile(r"c\.(\d{1,9}(?:\.\d{1,9})*)")
_DTYPE: Final = re.compile(r"u?int\d+|float\d+")
_ZARR: Final[dict[str, Any]] = {"zarr_format": 3, "attributes": {}}
_FORM: Final[dict[str, Any]] = {
    **_ZARR,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},  # with '/', folders for each chunk
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
}


class About(NamedTuple):
    """What zarr.json says of an array: its form, and the facts that were sealed with it."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any  # of that dtype
    facts: dict[str, Any]

    def write(self, path: Path) -> "About":
        """Have zarr describe an array of this form, and keep that. Returns the same."""
        from zarr.core.metadata import ArrayV3Metadata  # 0.2 s, which whoever only reads does without

        grid = {"name": "regular", "configuration": {"chunk_shape": self.chunks}}
        form = {"shape": self.shape, "data_type": self.dtype.name, "chunk_grid": grid, "fill_value": self.fill.item()}
        _write(path, ArrayV3Metadata.from_dict(_FORM | form), {**self.facts, "length": self.shape[0]}, self._sealed())
        return self

    def _sealed(self) -> tuple[Any, ...]:
        return self.shape[1:], self.chunks, self.dtype.name, repr(self.fill)

    @classmethod
    def of(cls, path: Path, about: Mapping[str, Any]) -> "About":
        """What is kept of the array at a place. DamagedError where it is not what was written there."""
        try:
            name, shape = about["data_type"], tuple(about["shape"])
            dtype = np.dtype(name if _DTYPE.fullmatch(name) else None)
            chunks = tuple(about["chunk_grid"]["configuration"]["chunk_shape"])
            found = cls(shape, chunks, dtype, dtype.type(about["fill_value"]), {})
            facts = _unsealed(path, about, found._sealed())
            # One of an earlier version that was killed while the array grew had said its length, not yet its shape.
            shape = (facts.pop("length"), *shape[1:])
            sizes = [*shape, *chunks]
            chunk_bytes, count = math.prod(chunks) * dtype.itemsize, math.prod(map(_blocks, shape, chunks))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise _made_up(path) from None
        whole = all(type(size) is int and size >= 0 for size in sizes) and len(shape) == len(chunks) > 0 < min(chunks)
        if (
            not whole
            or not isinstance(found.fill, np.generic)
            or chunk_bytes > _LARGEST_CHUNK_BYTES
            or count > _MOST_CHUNKS
        ):
            raise _made_up(path)
        return cls(shape, chunks, dtype, found.fill, facts)


class ChunkedArray:
    """An array in a folder of zarr, in chunks along its first axes. `facts` are what was said of it."""

    def __init__(self, path: Path) -> None:
        """StoreError where there is none, DamagedError where it is not as it was described."""
        self.path = path
        self._about = About.of(path, _read(path))
        self.shape, self.chunks, self.dtype, _, self.facts = self._about
        self.count = _blocks(self.shape[0], self.chunks[0])  # chunks along the first axis
        if not self._is_of_a_run():
            raise _made_up(path)

    def _is_of_a_run(self) -> bool:
        """Whether a run would describe it so."""
        return True

    @classmethod
    def describe(
        cls,
        path: Path,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dtype: npt.DTypeLike,
        fill: float = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> Self:
        """Describe an array anew: chunks that are there stay. Others read `fill` where a chunk is missing."""
        path.mkdir(exist_ok=True)
        kind: np.dtype[Any] = np.dtype(dtype)
        About(shape, chunks, kind, np.array(fill, kind)[()], dict(facts or {})).write(path)
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def grow(self, length: int) -> None:
        """Make room for more rows."""
        self.shape = (length, *self.shape[1:])
        self._about = self._about._replace(shape=self.shape).write(self.path)
        self.count = _blocks(length, self.chunks[0])

    def file(self, *number: int) -> Path:
        """Where a chunk is: `number` along the first axes, the others have one."""
        return self.path / self._name(*number)

    def _name(self, *number: int) -> str:
        return f"c.{'.'.join(map(str, number))}{'.0' * (len(self.shape) - len(number))}"

    def done(self) -> set[tuple[int, ...]]:
        """The numbers along every axis of the chunks that exist, by one listing."""
        found = map(_CHUNK_NAME.fullmatch, names_in(self.path))
        numbers = (tuple(map(int, match[1].split("."))) for match in found if match)
        ends = list(map(_blocks, self.shape, self.chunks))
        return {
            number
            for number in numbers
            if len(number) == len(ends) and all(k < end for k, end in zip(number, ends, strict=True))
        }

    def write(self, number: tuple[int, ...], values: npt.NDArray[Any]) -> None:
        """Write one chunk whole or not at all, with its checksum; where values are fewer, `fill` comes after them.

        Not flushed to disk, which takes long: whatever is read is verified.
        """
        chunk = self._filled(values)
        write_bytes(self.file(*number), b"".join([chunk.data, _checksum(chunk)]), flushed=False)

    def checksum_of(self, values: npt.NDArray[Any]) -> str:
        """The checksum that the chunk ends with that begins with these values, as hex digits."""
        return _checksum(self._filled(values)).hex()

    def _filled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if values.shape == self.chunks:
            return np.ascontiguousarray(values, self.dtype)
        chunk = np.full(self.chunks, self._about.fill, self.dtype)
        chunk[tuple(map(slice, values.shape))] = values
        return chunk

    def delete(self, number: int) -> None:
        """Remove a chunk, if it exists: what it vouches for is about to change."""
        check_hold()
        self.file(number).unlink(missing_ok=True)

    def checksum(self, *number: int) -> str:
        """The checksum that a chunk ends with, as hex digits; empty where it is not there or not whole."""
        start = math.prod(self.chunks) * self.dtype.itemsize
        try:
            (end,) = read_at(self.path, self._name(*number), [start], CHECKSUM_BYTES + 1)
        except OSError:
            return ""
        return end.hex() if len(end) == CHECKSUM_BYTES else ""

    def checksums(self) -> list[str]:
        """Those of all chunks of an array that is chunked along its first axis alone."""
        return [self.checksum(number) for number in range(self.count)]

    def read(self, numbers: Sequence[tuple[int, ...]]) -> Iterator[npt.NDArray[Any]]:
        """Some chunks, whole, not to be written to. DamagedError, naming the chunk, where one is missing or damaged."""
        if not isinstance(self.path, BucketPath):
            yield from map(self._chunk, numbers)
            return
        at_once = max(1, min(_ASKED_AT_ONCE, _BYTES_AT_ONCE // max(1, math.prod(self.chunks) * self.dtype.itemsize)))
        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(numbers), at_once):
                yield from pool.map(self._chunk, numbers[start : start + at_once])

    def _chunk(self, number: tuple[int, ...]) -> npt.NDArray[Any]:
        file = self.file(*number)
        data = np.frombuffer(read_bytes(file), np.uint8)
        values, end = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
        if values.nbytes != math.prod(self.chunks) * self.dtype.itemsize or _checksum(values) != end.tobytes():
            raise DamagedError(file, "its checksum does not match")
        return values.view(self.dtype).reshape(self.chunks)

    def rows(self, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Consecutive rows of an array that is chunked along its first axis alone."""
        start, stop, _ = rows.indices(self.shape[0])
        length = self.chunks[0]
        try:
            out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        except (MemoryError, ValueError):
            raise DamagedError(self.path / ABOUT, "it describes more than memory can hold") from None
        numbers = range(start // length, -(-stop // length)) if len(out) else range(0)
        for number, chunk in zip(numbers, self.read([(number,) for number in numbers]), strict=True):
            begin, end = max(start, number * length), min(stop, (number + 1) * length)
            out[begin - start : end - start] = chunk[begin - number * length : end - number * length]
        return out

    def take(self, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[Any]:
        """The named rows, in that order.

        With `sums`, their `row_sums`, only the bytes of the rows are read where they are few in a chunk; whatever is
        read is verified.
        """
        length, row_shape = self.chunks[0], self.shape[1:]
        if rows.max(initial=-1) >= self.shape[0]:
            raise DamagedError(self.path / ABOUT, "it is of fewer rows than there are images")
        out = np.empty((len(rows), *row_shape), self.dtype)
        flat = out.reshape(len(rows), math.prod(row_shape)).view(np.uint8)
        order = np.argsort(rows, kind="stable")
        numbers, offsets = np.divmod(rows[order], length)
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(order)] if len(order) else []
        many = 0 if sums is None else length * flat.shape[1] // _ROW_COSTS_BYTES
        for begin, end in pairwise(cuts):
            number, places = int(numbers[begin]), order[begin:end]
            if end - begin > many:
                out[places] = self._chunk((number,))[offsets[begin:end]]
            else:
                self._read_rows(number, offsets[begin:end].tolist(), places, flat)
        if sums is not None:
            wrong = np.flatnonzero(row_sums(out) != sums)
            if len(wrong):
                raise DamagedError(self.file(int(rows[wrong[0]]) // length), "a row's checksum does not match")
        return out

    def _read_rows(self, number: int, offsets: list[int], places: Ints, out: npt.NDArray[np.uint8]) -> None:
        """Rows of a chunk to their places in `out`, uint8 (n, bytes)."""
        name, size = self._name(number), out.shape[1]
        try:
            rows = read_at(self.path, name, [offset * size for offset in offsets], size)
        except OSError as error:
            raise read_error(self.path / name, error) from None
        for place, row in zip(places.tolist(), rows, strict=True):
            if len(row) != size:
                raise DamagedError(self.path / name, "it is short")
            out[place] = np.frombuffer(row, np.uint8)


def write_group(path: Path, facts: Mapping[str, Any]) -> None:
    """Have zarr describe a folder of arrays, with facts of it."""
    from zarr.core.group import GroupMetadata

    _write(path, GroupMetadata.from_dict(_ZARR), facts)


def read_group(path: Path) -> dict[str, Any]:
    """The facts of a folder of arrays. StoreError where there is none, DamagedError where they were changed since."""
    return _unsealed(path, _read(path))


def stored_facts(path: Path) -> dict[str, Any]:
    """What was said of an array or a group; nothing where there is none, or a damaged one."""
    try:
        about = _read(path)
        return _unsealed(path, about) if about.get("node_type") == "group" else About.of(path, about).facts
    except StoreError:
        return {}


def _write(path: Path, described: Any, facts: Mapping[str, Any], form: tuple[Any, ...] = ()) -> None:
    from zarr.core.buffer import default_buffer_prototype

    text = described.to_buffer_dict(default_buffer_prototype())[ABOUT].to_bytes()
    kept = {**json.loads(text), "attributes": sealed(facts, form)}
    write_bytes(path / ABOUT, json.dumps(kept, indent=2).encode("ascii"), flushed=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(read_bytes(path / ABOUT))
    except DamagedError as error:
        if isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
            raise StoreError(f"{path} is not there: run 'dupegrid run' again to make it") from None
        raise
    except (ValueError, RecursionError):
        raise _made_up(path) from None
    if not isinstance(about, dict) or not isinstance(about.get("attributes"), dict):
        raise _made_up(path)
    return about


def _unsealed(path: Path, kept: Mapping[str, Any], form: tuple[Any, ...] = ()) -> dict[str, Any]:
    facts = unsealed(kept["attributes"], form)
    if facts is None:
        raise DamagedError(path / ABOUT, "it was never finished, or has changed")
    return facts


def _made_up(path: Path) -> DamagedError:
    return DamagedError(path / ABOUT, "it describes no array of a run")


def _blocks(length: int, chunk: int) -> int:
    return -(-length // chunk)


def _checksum(values: npt.NDArray[Any]) -> bytes:
    flat = values.reshape(-1).view(np.uint8)
    return int(google_crc32c.value(flat)).to_bytes(CHECKSUM_BYTES, "little")


def row_sums(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The sum of the 64-bit words of each row, modulo 2^64, and of the bytes left over: (n, ...) -> uint64 (n,).

    A flipped bit always changes it.
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:])).view(np.uint8)
    words = flat.shape[1] // 8 * 8
    sums = np.ascontiguousarray(flat[:, :words]).view(np.uint64).sum(axis=1, dtype=np.uint64)
    return np.asarray(sums + flat[:, words:].sum(axis=1, dtype=np.uint64))
