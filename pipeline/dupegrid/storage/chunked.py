"""Arrays in chunks, as the stages use them: whole chunks, rows, marks that are listed."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from operator import lt
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from dupegrid.storage.chunk_files import CHECKSUM_BYTES, end_of, names_in, read_rows, read_whole
from dupegrid.storage.files import write_bytes
from dupegrid.storage.hold import check_hold
from dupegrid.storage.places import DAMAGED, is_place
from dupegrid.storage.zarr_store import (
    ABOUT,
    Encoded,
    OpenedArray,
    create_array,
    decoded,
    encoded,
    grow,
    opened_array,
    opened_node,
)

# Far above any that is written: what says more was made up.
_LARGEST_CHUNK_BYTES: Final = 1 << 31
_MOST_CHUNKS: Final = 1 << 40
_CHUNKS_AT_ONCE: Final = 64  # decoded together: 130 instead of 210 microseconds for each,
_BYTES_AT_ONCE: Final = 1 << 25  # or so many of them
_ROW_COSTS_BYTES: Final = 1 << 13  # reading a row by itself takes as long as reading so much of a chunk at once
_CHUNK_NAME: Final = re.compile(r"c(\.\d{1,9})+")


class ChunkedArray:
    """An array in a folder of zarr, in chunks along its first axes. `facts` are what was said of it."""

    def __init__(self, path: Path, made: OpenedArray | None = None) -> None:
        """StoreError where there is none, DamagedError where it is not as it was described.

        One that was just made is `made`, what `create_array` gave, and is not read again.
        """
        self.path = path
        self._array, self.shape, self.facts = made or opened_array(path)
        self.chunks: tuple[int, ...] = self._array.chunks
        self.dtype: np.dtype[Any] = self._array.dtype
        too_large = self._chunk_bytes() > _LARGEST_CHUNK_BYTES or math.prod(self._ends()) > _MOST_CHUNKS
        if too_large or not self._is_of_a_run():
            raise DamagedError(path / ABOUT, "it describes no array of a run")

    @property
    def count(self) -> int:
        """How many chunks there are along the first axis."""
        return self._ends()[0]

    def _chunk_bytes(self) -> int:
        return math.prod(self.chunks) * self.dtype.itemsize

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
        return cls(path, create_array(path, shape, chunks, dtype, fill, facts or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def grow(self, length: int) -> None:
        """Make room for more rows."""
        self.shape = (length, *self.shape[1:])
        grow(self._array, length, self.facts)

    def file(self, *number: int) -> Path:
        """Where a chunk is: `number` along the first axes, the others have one."""
        return self.path / self._name(*number)

    def _name(self, *number: int) -> str:
        return f"c.{'.'.join(map(str, number))}{'.0' * (len(self.shape) - len(number))}"

    def done(self) -> set[tuple[int, ...]]:
        """The numbers along every axis of the chunks that exist, by one listing."""
        names, ends = filter(_CHUNK_NAME.fullmatch, names_in(self.path)), self._ends()
        numbers = (tuple(map(int, name.split(".")[1:])) for name in names)
        return {number for number in numbers if len(number) == len(ends) and all(map(lt, number, ends))}

    def _ends(self) -> list[int]:
        """How many chunks there are along each axis."""
        return [-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True)]

    def write(self, number: tuple[int, ...], values: npt.NDArray[Any]) -> None:
        """Write one chunk whole or not at all, with its checksum; where values are fewer, `fill` comes after them."""
        self.put(number, self.encoded(values))

    def encoded(self, values: npt.NDArray[Any]) -> Encoded:
        """The chunk that begins with these values, as it is stored."""
        return encoded(self._array, values)

    def put(self, number: tuple[int, ...], chunk: Encoded) -> None:
        """Write one chunk, encoded already."""
        write_bytes(self.file(*number), chunk.data, flushed=False)  # takes long, and whatever is read is verified

    def delete(self, number: int) -> None:
        """Remove a chunk, if it exists: what it vouches for is about to change."""
        check_hold()
        self.file(number).unlink(missing_ok=True)

    def checksum(self, *number: int) -> str:
        """The checksum that a chunk ends with, as hex digits; empty where it is not there or not whole."""
        end = end_of(self.path, self._name(*number), self._chunk_bytes())
        return end.hex() if len(end) == CHECKSUM_BYTES else ""

    def checksums(self) -> list[str]:
        """The `checksum` of every chunk of an array that is chunked along its first axis alone."""
        return [self.checksum(number) for number in range(self.count)]

    def read(self, numbers: Sequence[tuple[int, ...]]) -> Iterator[npt.NDArray[Any]]:
        """Some chunks, whole. DamagedError, naming the chunk, where one is missing or damaged."""
        at_once = max(1, min(_CHUNKS_AT_ONCE, _BYTES_AT_ONCE // max(1, self._chunk_bytes())))
        for start in range(0, len(numbers), at_once):
            yield from self._read([self.file(*number) for number in numbers[start : start + at_once]])

    def _read(self, files: Sequence[Path]) -> list[npt.NDArray[Any]]:
        try:
            return decoded(self._array, read_whole(files))
        except ValueError:
            if len(files) > 1:  # which one it is zarr does not say
                return [chunk for file in files for chunk in self._read([file])]
            raise self._damaged(files[0], "its checksum does not match") from None

    def _damaged(self, file: Path, problem: str) -> DamagedError:
        """The error of a damaged chunk; where an index would make it again, that is noted for the next run: `mend`."""
        note = self.path / DAMAGED
        is_ours = any(is_place("/".join(note.parts[-names:])) for names in (2, 3))  # of an array, or of one in a group
        with suppress(OSError, DupegridError):  # whoever may not write here is told all the same
            if is_ours and not self.path.is_symlink():  # a reader refuses only links beside run.json
                write_bytes(note, b"", flushed=False)
        return DamagedError(file, problem)

    def mend(self) -> list[DamagedError]:
        """Where a reader noted damage, remove each damaged chunk, so that it is made again; returns their errors.

        All chunks are looked at then, as a reader stops at the first.
        """
        note, found = self.path / DAMAGED, list[DamagedError]()
        if not note.is_file():
            return found
        for number in sorted(self.done()):
            try:
                self._read([self.file(*number)])
            except DamagedError as error:
                found.append(error)
                check_hold()
                self.file(*number).unlink(missing_ok=True)
        note.unlink()
        return found

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
        alone, number_of, places, offset_of = [], numbers.tolist(), order.tolist(), offsets.tolist()
        for begin, end in pairwise(cuts):
            number = number_of[begin]
            if end - begin > many:
                (chunk,) = self.read([(number,)])
                out[order[begin:end]] = chunk[offsets[begin:end]]
            else:
                alone.append((self._name(number), offset_of[begin:end], places[begin:end]))
        if alone:
            read_rows(self.path, alone, flat)
        if sums is not None:
            wrong = np.flatnonzero(row_sums(out) != sums)
            if len(wrong):
                raise self._damaged(self.file(int(rows[wrong[0]]) // length), "a row's checksum does not match")
        return out


def stored_facts(path: Path) -> dict[str, Any]:
    """What was said of an array or a group; nothing where there is none, or a damaged one."""
    try:
        return opened_node(path)[1]
    except StoreError:
        return {}


def row_sums(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The sum of the 64-bit words of each row, modulo 2^64, and of the bytes left over: (n, ...) -> uint64 (n,).

    A flipped bit always changes it.
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:])).view(np.uint8)
    words = flat.shape[1] // 8 * 8
    sums = np.ascontiguousarray(flat[:, :words]).view(np.uint64).sum(axis=1, dtype=np.uint64)
    return np.asarray(sums + flat[:, words:].sum(axis=1, dtype=np.uint64))
