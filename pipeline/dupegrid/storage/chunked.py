"""Arrays in chunks, as the stages use them: whole chunks, rows, marks that are listed. The only file that knows zarr.

A chunk exists only when it is whole, also where all of it is the fill value; one that is missing or damaged is an
error, never zeros. Chunks are uncompressed and end with a crc32c, so that rows that are wanted alone can be read alone.
zarr describes an array, and any reader of zarr opens it; what a chunk is then leaves no choice (decision 0041).
"""

import json
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import google_crc32c
import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import check_hold
from dupegrid.storage.parts import CHECKSUM_BYTES, end_of, names_in, read_rows
from dupegrid.storage.tables import load_json, read_bytes, sealed, unsealed, write_bytes

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
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


class ChunkedArray:
    """An array in a folder of zarr, in chunks along its first axes. `facts` are what was said of it."""

    def __init__(self, path: Path) -> None:
        """StoreError where there is none, DamagedError where it is not as it was described."""
        self.path, about = path, _read(path)
        try:
            if not _DTYPE.fullmatch(about["data_type"]):
                raise ValueError("no run writes values of that kind")
            self.dtype: np.dtype[Any] = np.dtype(about["data_type"])
            self._fill = self.dtype.type(about["fill_value"])
            self.chunks: tuple[int, ...] = tuple(about["chunk_grid"]["configuration"]["chunk_shape"])
            row = tuple(about["shape"][1:])
            self.facts = _unsealed(path, about, _form(row, self.chunks, self._fill))
            # One of an earlier version that was killed while the array grew had said its length, not yet its shape.
            self.shape: tuple[int, ...] = (self.facts.pop("length"), *row)
            self._chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize
            self.count, *others = map(_blocks, self.shape, self.chunks)  # chunks along the first axis, and the others
            sizes = [*self.shape, *self.chunks]
            whole = all(type(size) is int for size in sizes) and min(sizes) >= 0 and np.ndim(self._fill) == 0
            few = self._chunk_bytes <= _LARGEST_CHUNK_BYTES and math.prod([self.count, *others]) <= _MOST_CHUNKS
            if not (whole and few and len(self.shape) == len(self.chunks) and self._is_of_a_run()):
                raise ValueError("nor arrays of that form")
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise _made_up(path) from None

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
        _describe(path, shape, chunks, np.array(fill, dtype)[()], facts or {})
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def grow(self, length: int) -> None:
        """Make room for more rows."""
        self.shape, self.count = (length, *self.shape[1:]), _blocks(length, self.chunks[0])
        _describe(self.path, self.shape, self.chunks, self._fill, self.facts)

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
        return {number for number in numbers if len(number) == len(ends) and all(map(operator.lt, number, ends))}

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
        chunk = np.full(self.chunks, self._fill, self.dtype)
        chunk[tuple(map(slice, values.shape))] = values
        return chunk

    def delete(self, number: int) -> None:
        """Remove a chunk, if it exists: what it vouches for is about to change."""
        check_hold()
        self.file(number).unlink(missing_ok=True)

    def checksum(self, *number: int) -> str:
        """The checksum that a chunk ends with, as hex digits; empty where it is not there or not whole."""
        end = end_of(self.path, self._name(*number), self._chunk_bytes)
        return end.hex() if len(end) == CHECKSUM_BYTES else ""

    def checksums(self) -> list[str]:
        """Those of all chunks of an array that is chunked along its first axis alone."""
        return [self.checksum(number) for number in range(self.count)]

    def read(self, numbers: Sequence[tuple[int, ...]]) -> Iterator[npt.NDArray[Any]]:
        """Some chunks, whole, not to be written to. DamagedError, naming the chunk, where one is missing or damaged."""
        if not isinstance(self.path, BucketPath):
            yield from map(self._chunk, numbers)
            return
        at_once = max(1, min(_ASKED_AT_ONCE, _BYTES_AT_ONCE // max(1, self._chunk_bytes)))
        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(numbers), at_once):
                yield from pool.map(self._chunk, numbers[start : start + at_once])

    def _chunk(self, number: tuple[int, ...]) -> npt.NDArray[Any]:
        file = self.file(*number)
        data = np.frombuffer(read_bytes(file), np.uint8)
        values, end = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
        if values.nbytes != self._chunk_bytes or _checksum(values) != end.tobytes():
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
        alone, number_of, place_of, offset_of = [], numbers.tolist(), order.tolist(), offsets.tolist()
        for begin, end in pairwise(cuts):
            if end - begin > many:
                out[order[begin:end]] = self._chunk((number_of[begin],))[offsets[begin:end]]
            else:
                alone.append((self._name(number_of[begin]), offset_of[begin:end], place_of[begin:end]))
        if alone:
            read_rows(self.path, alone, flat)
        if sums is not None:
            wrong = np.flatnonzero(row_sums(out) != sums)
            if len(wrong):
                raise DamagedError(self.file(int(rows[wrong[0]]) // length), "a row's checksum does not match")
        return out


def _describe(path: Path, shape: Sequence[int], chunks: Sequence[int], fill: Any, facts: Mapping[str, Any]) -> None:
    """Have zarr describe an array of the dtype of `fill`, and keep that."""
    from zarr.core.metadata import ArrayV3Metadata  # 0.2 s, which whoever only reads does without

    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    about = {"shape": shape, "data_type": fill.dtype.name, "chunk_grid": grid, "fill_value": fill.item()}
    form = _form(shape[1:], chunks, fill)
    _write(path, ArrayV3Metadata.from_dict(_FORM | about), {**facts, "length": shape[0]}, form)


def _form(row: Sequence[int], chunks: Sequence[int], fill: Any) -> tuple[Any, ...]:
    """What the digest of an array is of, besides its facts."""
    return row, chunks, fill.dtype.name, repr(fill)


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
        return _unsealed(path, about) if about.get("node_type") == "group" else ChunkedArray(path).facts
    except StoreError:
        return {}


def _write(path: Path, described: Any, facts: Mapping[str, Any], form: tuple[Any, ...] = ()) -> None:
    from zarr.core.buffer import default_buffer_prototype

    text = described.to_buffer_dict(default_buffer_prototype())[ABOUT].to_bytes()
    kept = {**json.loads(text), "attributes": sealed(facts, form)}
    write_bytes(path / ABOUT, json.dumps(kept, indent=2).encode("ascii"), flushed=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        return load_json(path / ABOUT)
    except DamagedError as error:
        if isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
            raise StoreError(f"{path} is not there: run 'dupegrid run' again to make it") from None
        raise


def _unsealed(path: Path, about: Mapping[str, Any], form: tuple[Any, ...] = ()) -> dict[str, Any]:
    facts = unsealed(about.get("attributes"), form)
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
