"""The chunk files of an array in zarr's format, and the file that describes them: read and written here, checked.

zarr leaves out chunks that equal the fill value, reads missing ones as that value, and takes a millisecond or more for
each. Here a chunk is written whole or not at all, uncompressed, little-endian, a crc32c at its end; a missing or
damaged one is an error. zarr.json carries a digest of itself.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.storage.ours import MADE_BY, TO_READ
from dupegrid.storage.tables import DIGEST, read_bytes, read_error, writing_whole

_CHECKSUM_BYTES: Final = 4
_LARGEST_CHUNK_BYTES: Final = 1 << 31  # far above any that is written: what says more was made up
_ROW_COSTS_BYTES: Final = 1 << 13  # reading a row by itself takes as long as reading so much of a chunk at once
_CHUNK_NAME: Final = re.compile(r"c\.(\d{1,9}(?:\.\d{1,9})*)")
_KEYS: Final = {"name": "default", "configuration": {"separator": "."}}  # of folders, each chunk would need several


@dataclass(frozen=True)
class Chunked:
    """An array in a folder, as its zarr.json describes it."""

    path: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    attributes: Mapping[str, Any]

    @classmethod
    def opened(cls, path: Path) -> "Chunked":
        """The array in a folder. StoreError where there is none, DamagedError where zarr.json is not as it was made."""
        about = read_about(path)
        if about.get("chunk_key_encoding") != _KEYS:
            raise DamagedError(path / "zarr.json", "its chunks have other names")
        try:
            chunks = tuple(about["chunk_grid"]["configuration"]["chunk_shape"])
            dtype = np.dtype(about["data_type"])
            fill = dtype.type(about["fill_value"])
            array = cls(path, tuple(about["shape"]), chunks, dtype, fill, about["attributes"])
            lengths = zip(array.shape, array.chunks, strict=True)
            if not all(0 <= length < 1 << 40 and chunk > 0 for length, chunk in lengths):
                raise ValueError
            if math.prod(chunks) * dtype.itemsize > _LARGEST_CHUNK_BYTES:
                raise ValueError
            return array
        except (KeyError, TypeError, ValueError):
            raise DamagedError(path / "zarr.json", "it describes no array of a run") from None

    def file(self, *number: int) -> Path:
        """Where a chunk is: `number` along the first axes, the others have one. Unfinished ones have other names."""
        return Path(self._place(number))

    def _place(self, number: tuple[int, ...]) -> str:
        return f"{self.path}/" + ".".join(["c", *map(str, number), *("0" for _ in self.shape[len(number) :])])

    @property
    def count(self) -> int:
        """How many chunks there are along the first axis."""
        return -(-self.shape[0] // self.chunks[0])

    def listed(self) -> set[tuple[int, ...]]:
        """The numbers along every axis of the chunks that exist within the array, by one listing of the folder."""
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return set()
        numbers = (tuple(map(int, match[1].split("."))) for match in map(_CHUNK_NAME.fullmatch, names) if match)
        ends = [-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True)]
        return {
            number
            for number in numbers
            if len(number) == len(ends) and all(k < end for k, end in zip(number, ends, strict=True))
        }

    def checksum(self, *number: int) -> str:
        """The checksum that a chunk file ends with, as hex digits; empty where the file is not there or not whole."""
        size = math.prod(self.chunks) * self.dtype.itemsize
        try:
            descriptor = os.open(self._place(number), TO_READ)
            try:
                end = os.pread(descriptor, _CHECKSUM_BYTES + 1, size)
            finally:
                os.close(descriptor)
        except OSError:
            return ""
        return end.hex() if len(end) == _CHECKSUM_BYTES else ""

    def checksum_of(self, values: npt.NDArray[Any]) -> str:
        """The checksum of the chunk that these values give."""
        checksum: int = google_crc32c.value(self._whole(values))
        return checksum.to_bytes(_CHECKSUM_BYTES, "little").hex()

    def read(self, *number: int) -> npt.NDArray[Any]:
        """One whole chunk, its checksum verified. DamagedError where it is missing or damaged."""
        out = np.empty(self.chunks, self.dtype)
        self._read_into(out, *number)
        return out

    def _read_into(self, out: npt.NDArray[Any], *number: int) -> str:
        """Read one whole chunk into an array of its shape. Returns its checksum, which is verified."""
        file = self._place(number)
        body, end = out.reshape(-1).view(np.uint8), np.zeros(_CHECKSUM_BYTES + 1, np.uint8)  # longer files are seen
        try:
            descriptor = os.open(file, TO_READ)
            try:
                size = os.preadv(descriptor, [body.data, end.data], 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise read_error(Path(file), error) from None
        if size != len(body) + _CHECKSUM_BYTES:
            raise DamagedError(Path(file), "it is short" if size < len(body) else "it is too long")
        if google_crc32c.value(body) != int.from_bytes(end[:_CHECKSUM_BYTES], "little"):
            raise DamagedError(Path(file), "its checksum does not match")
        return end[:_CHECKSUM_BYTES].tobytes().hex()

    def write(self, number: tuple[int, ...], values: npt.NDArray[Any]) -> None:
        """Write one chunk whole or not at all, with its checksum; what lies beyond the array is filled."""
        data = self._whole(values)
        _write(self.file(*number), data.data, google_crc32c.value(data).to_bytes(_CHECKSUM_BYTES, "little"))

    def _whole(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The bytes of the chunk that these values give."""
        whole = values
        if values.shape != self.chunks or values.dtype != self.dtype:
            whole = np.full(self.chunks, self.fill, self.dtype)
            whole[tuple(slice(length) for length in values.shape)] = values
        return np.ascontiguousarray(whole).reshape(-1).view(np.uint8)

    def rows(self, rows: slice, seen: list[str] | None = None) -> npt.NDArray[Any]:
        """Consecutive rows of an array that is chunked along its first axis only.

        `seen` is given the checksum of each chunk that is read.
        """
        start, stop, _ = rows.indices(self.shape[0])
        try:
            out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        except MemoryError:
            raise DamagedError(self.path / "zarr.json", "it describes more than memory can hold") from None
        length = self.chunks[0]
        for number in range(start // length, -(-stop // length)):
            begin = number * length
            low, high = max(start, begin), min(stop, begin + length)
            here = out[low - start : high - start]
            whole = here if len(here) == length else np.empty(self.chunks, self.dtype)
            checksum = self._read_into(whole, number)
            if whole is not here:
                here[:] = whole[low - begin : high - begin]
            if seen is not None:
                seen.append(checksum)
        return out

    def take(self, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[Any]:
        """The named rows of an array that is chunked along its first axis only, in that order.

        With `sums`, the `row_sums` of all rows of the array, only the bytes of the rows are read where they are few in
        a chunk; whatever is read is verified.
        """
        length, row_shape = self.chunks[0], self.shape[1:]
        if sums is not None and len(sums) < self.shape[0]:
            raise DamagedError(self.path / "zarr.json", "it is of more rows than there are checksums")
        out = np.empty((len(rows), *row_shape), self.dtype)
        flat = out.reshape(len(rows), math.prod(row_shape)).view(np.uint8)
        order = np.argsort(rows, kind="stable")
        numbers, offsets = np.divmod(rows[order], length)
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(order)] if len(order) else []
        many = 0 if sums is None else length * flat.shape[1] // _ROW_COSTS_BYTES
        for begin, end in pairwise(cuts):
            number, places = int(numbers[begin]), order[begin:end]
            if end - begin > many:
                out[places] = self.read(number)[offsets[begin:end]]
            else:
                _read_rows(self._place((number,)), offsets[begin:end].tolist(), places.tolist(), flat)
        if sums is not None:
            wrong = np.flatnonzero(row_sums(out) != sums[rows])
            if len(wrong):
                raise DamagedError(self.file(int(rows[wrong[0]]) // length), "a row's checksum does not match")
        return out


def row_sums(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The sum of the 64-bit words of each row, modulo 2^64, and of the bytes left over: (n, ...) -> uint64 (n,).

    A flipped bit always changes it.
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:])).view(np.uint8)
    words = flat.shape[1] // 8 * 8
    sums = np.ascontiguousarray(flat[:, :words]).view(np.uint64).sum(axis=1, dtype=np.uint64)
    return np.asarray(sums + flat[:, words:].sum(axis=1, dtype=np.uint64))


def read_about(path: Path) -> dict[str, Any]:
    """What the zarr.json in a folder says. StoreError where there is none, DamagedError where it was not sealed so."""
    file = path / "zarr.json"
    try:
        if not file.exists():
            raise StoreError(f"{path} is not there: run 'dupegrid run' again to make it")
        about: dict[str, Any] = json.loads(read_bytes(file))
        digest = about["attributes"].pop(DIGEST)
        for key in MADE_BY:
            about["attributes"].pop(key)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(file, "it was never finished, or has changed") from None
    if digest != fingerprint(about):
        raise DamagedError(file, "its checksum does not match")
    return about


def write_about(path: Path, about: Mapping[str, Any]) -> None:
    """Write a zarr.json, with a digest of itself; the folder is made if need be."""
    attributes = {key: value for key, value in about.get("attributes", {}).items() if key not in (DIGEST, *MADE_BY)}
    about = {**about, "attributes": attributes}
    sealed = {**about, "attributes": {**MADE_BY, **attributes, DIGEST: fingerprint(about)}}
    path.mkdir(exist_ok=True)
    _write(path / "zarr.json", json.dumps(sealed).encode())


def describe_array(
    path: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    attributes: Mapping[str, Any],
) -> None:
    """Write the zarr.json of an array, by version 3 of zarr's specification."""
    kind = np.dtype(dtype)
    order = {} if kind.itemsize == 1 else {"configuration": {"endian": "little"}}
    about = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": kind.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": _KEYS,
        "fill_value": "NaN" if math.isnan(fill) else fill,
        "codecs": [{"name": "bytes", **order}, {"name": "crc32c"}],
        "attributes": attributes,
        "storage_transformers": [],
    }
    write_about(path, about)


def describe_group(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the zarr.json of a folder of arrays."""
    write_about(path, {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _write(file: Path, *parts: bytes | memoryview) -> None:
    """Write a file whole or not at all; not flushed to disk, which takes long: whatever is read is verified."""
    with writing_whole(file, flushed=False) as target:
        for part in parts:
            target.write(part)


def _read_rows(file: str, offsets: list[int], places: list[int], out: npt.NDArray[np.uint8]) -> None:
    """The bytes of rows of one uncompressed chunk file, each to its place in `out`."""
    size = out.shape[1]
    try:
        descriptor = os.open(file, TO_READ)
        try:
            for offset, place in zip(offsets, places, strict=True):
                if os.preadv(descriptor, [out[place]], offset * size) != size:
                    raise DamagedError(Path(file), "it is short")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise read_error(Path(file), error) from None
