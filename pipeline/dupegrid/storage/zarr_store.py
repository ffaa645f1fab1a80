"""Arrays kept by zarr, which creates, describes, writes, reads and verifies them. The only file that knows zarr.

One task writes one whole chunk. A chunk exists only when it is whole, also where all of it is the fill value; one that
is missing or damaged is an error that names it, never zeros. Chunks are uncompressed and end with a crc32c, so that
rows that are wanted alone can be read alone.
"""

import math
import os
import re
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfig
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding
from zarr.storage import LocalStore, MemoryStore

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.storage.ours import MADE_BY, TO_READ
from dupegrid.storage.tables import DIGEST, read_bytes, read_error, writing_whole

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
_CHECKSUM_BYTES: Final = 4
_LARGEST_CHUNK_BYTES: Final = 1 << 31  # far above any that is written: what says more was made up
_MOST_CHUNKS: Final = 1 << 20  # the same, of an array that may have gaps
_CHUNKS_AT_ONCE: Final = 1024
_ROW_COSTS_BYTES: Final = 1 << 13  # reading a row by itself takes as long as reading so much of a chunk at once
_CHUNK_NAME: Final = re.compile(r"c\.(\d{1,9}(?:\.\d{1,9})*)")
_KEYS: Final = DefaultChunkKeyEncoding(separator=".")  # of folders, each chunk would need several
_ZARR_SETTINGS: Final = {
    "array.write_empty_chunks": True,  # also those of nothing but the fill value
    "codec_pipeline.batch_size": 64,  # chunks decoded together: 270 instead of 400 microseconds of CPU for each
}


class Folder(LocalStore):
    """A folder: files are written whole or not at all, and read through no link; a chunk that is missing is an error.

    With `gaps`, a chunk that is missing is read as the fill value.
    """

    def __init__(self, root: Path, *, read_only: bool = False, gaps: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._gaps = gaps

    async def _open(self, *, mode: Any = None) -> None:
        self._is_open = True  # and no folder is made

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a file; None where there is none, if none is needed there."""
        file = self.root / key
        if (self._gaps or file.name == ABOUT) and not os.path.lexists(file):
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(read_bytes(file))

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file; not flushed to disk, which takes long: whatever is read is verified."""
        with writing_whole(self.root / key, flushed=False) as file:
            file.write(value.as_numpy_array().data)

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, by one listing."""
        try:
            with os.scandir(self.root / folder) as entries:
                return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def end(self, key: str, start: int) -> bytes:
        """The checksum at the end of a file that ends four bytes after `start`; nothing where it does not."""
        try:
            descriptor = os.open(self.root / key, TO_READ)
            try:
                end = os.pread(descriptor, _CHECKSUM_BYTES + 1, start)
            finally:
                os.close(descriptor)
        except OSError:
            return b""
        return end if len(end) == _CHECKSUM_BYTES else b""

    def read_rows(self, key: str, offsets: list[int], places: list[int], out: npt.NDArray[np.uint8]) -> None:
        """Rows of a file of rows: those numbered `offsets`, each to its place in `out`, uint8 (n, bytes of a row)."""
        file, size = self.root / key, out.shape[1]
        try:
            descriptor = os.open(file, TO_READ)
            try:
                for offset, place in zip(offsets, places, strict=True):
                    if os.preadv(descriptor, [out[place]], offset * size) != size:
                        raise DamagedError(file, "it is short")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise read_error(file, error) from None


class ChunkedArray:
    """An array in a folder of zarr, in chunks along its first axes. `facts` are what was said of it."""

    def __init__(self, path: Path, gaps: bool = False) -> None:
        """StoreError where there is none, DamagedError where it is not as it was described."""
        self.path = path
        self._folder = Folder(path, gaps=gaps)
        node = _opened(self._folder)
        if not isinstance(node, zarr.Array):
            raise DamagedError(path / ABOUT, "it describes no array of a run")
        self.facts = _facts_of(path, node)
        length = self.facts.pop("length")
        self.shape: tuple[int, ...] = (length, *node.shape[1:])
        self.chunks: tuple[int, ...] = node.chunks
        self.dtype: np.dtype[Any] = node.dtype
        self.ndim = len(self.shape)
        self.count = -(-length // self.chunks[0])  # chunks along the first axis
        lengths = [*zip(self.shape, self.chunks, strict=True)]
        size = math.prod(self.chunks) * self.dtype.itemsize
        chunks = math.prod(-(-length // chunk) for length, chunk in lengths)
        if size > _LARGEST_CHUNK_BYTES or (gaps and chunks > _MOST_CHUNKS) or chunks >= 1 << 40:
            raise DamagedError(path / ABOUT, "it describes no array of a run")
        # A run that was killed while the array grew has said so, and not yet changed the shape.
        self._array = node if node.shape == self.shape else _reshaped(node, self.shape)

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dtype: npt.DTypeLike,
        fill: float = 0,
        facts: Mapping[str, Any] | None = None,
        gaps: bool = False,
    ) -> "ChunkedArray":
        """An array without chunks, described anew: chunks that are there stay."""
        path.mkdir(exist_ok=True)
        (path / ABOUT).unlink(missing_ok=True)
        _created(Folder(path), shape, chunks, dtype, fill, facts or {})
        return cls(path, gaps)

    def grow(self, length: int) -> None:
        """Make room for more rows."""
        shape = (length, *self.shape[1:])
        about = _about(shape, self.chunks, self.dtype, self._array.metadata.fill_value)
        self._array = self._array.update_attributes(_sealed({**self.facts, "length": length}, about))
        self._array.resize(shape)
        self.shape, self.count = shape, -(-length // self.chunks[0])

    def key(self, *number: int) -> str:
        """The name of a chunk: `number` along the first axes, the others have one."""
        return ".".join(["c", *map(str, number), *("0" for _ in self.shape[len(number) :])])

    def file(self, *number: int) -> Path:
        """Where a chunk is."""
        return self.path / self.key(*number)

    def done(self) -> set[tuple[int, ...]]:
        """The numbers along every axis of the chunks that exist, by one listing."""
        found = map(_CHUNK_NAME.fullmatch, self._folder.names(""))
        numbers = (tuple(map(int, match[1].split("."))) for match in found if match)
        ends = [-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True)]
        return {
            number
            for number in numbers
            if len(number) == len(ends) and all(k < end for k, end in zip(number, ends, strict=True))
        }

    def write(self, number: tuple[int, ...], values: npt.NDArray[Any]) -> None:
        """Write one chunk whole or not at all, with its checksum."""
        self._array[_place(number, self.chunks, values.shape)] = values

    def delete(self, number: int) -> None:
        """Remove a chunk, if it exists."""
        self.file(number).unlink(missing_ok=True)

    def checksum(self, *number: int) -> str:
        """The checksum that a chunk ends with, as hex digits; empty where it is not there or not whole."""
        return self._folder.end(self.key(*number), math.prod(self.chunks) * self.dtype.itemsize).hex()

    def checksum_of(self, number: int, values: npt.NDArray[Any]) -> str:
        """The checksum that chunk `number` with these values ends with."""
        kept, array = self._in_memory
        array[_place((number,), self.chunks, values.shape)] = values
        return kept.pop(self.key(number)).to_bytes()[-_CHECKSUM_BYTES:].hex()

    @cached_property
    def _in_memory(self) -> tuple[dict[str, Buffer], Any]:
        """The same array, in which nothing stays."""
        kept: dict[str, Buffer] = {}
        return kept, _created(MemoryStore(kept), self.shape, self.chunks, self.dtype, self._array.fill_value, {})

    def __getitem__(self, place: Any) -> npt.NDArray[Any]:
        """Part of the array. DamagedError, naming the chunk, where one is missing or damaged."""
        try:
            return np.asarray(self._array[place])
        except MemoryError:
            raise DamagedError(self.path / ABOUT, "it describes more than memory can hold") from None
        except ValueError:
            for number in sorted(self.done()):
                try:
                    self._array[_place(number, self.chunks, self.chunks)]
                except ValueError:
                    raise DamagedError(self.file(*number), "its checksum does not match") from None
            raise

    def rows(self, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Consecutive rows."""
        start, stop, _ = rows.indices(self.shape[0])
        step = _CHUNKS_AT_ONCE * self.chunks[0]
        parts = [self[begin : min(stop, begin + step)] for begin in range(start, max(stop, start + 1), step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[Any]:
        """The named rows, in that order.

        With `sums`, the `row_sums` of all rows of the array, only the bytes of the rows are read where they are few in
        a chunk; whatever is read is verified.
        """
        length, row_shape = self.chunks[0], self.shape[1:]
        if sums is not None and len(sums) < self.shape[0]:
            raise DamagedError(self.path / ABOUT, "it is of more rows than there are checksums")
        out = np.empty((len(rows), *row_shape), self.dtype)
        flat = out.reshape(len(rows), math.prod(row_shape)).view(np.uint8)
        order = np.argsort(rows, kind="stable")
        numbers, offsets = np.divmod(rows[order], length)
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(order)] if len(order) else []
        many = 0 if sums is None else length * flat.shape[1] // _ROW_COSTS_BYTES
        for begin, end in pairwise(cuts):
            number, places = int(numbers[begin]), order[begin:end]
            if end - begin > many:
                out[places] = self[number * length : (number + 1) * length][offsets[begin:end]]
            else:
                self._folder.read_rows(self.key(number), offsets[begin:end].tolist(), places.tolist(), flat)
        if sums is not None:
            wrong = np.flatnonzero(row_sums(out) != sums[rows])
            if len(wrong):
                raise DamagedError(self.file(int(rows[wrong[0]]) // length), "a row's checksum does not match")
        return out


class Group:
    """A folder of arrays of one length. `facts` are what was said of it."""

    def __init__(self, path: Path) -> None:
        """StoreError where there is none, DamagedError where it was never finished."""
        self.path = path
        self._group = _opened(Folder(path))
        if not isinstance(self._group, zarr.Group):
            raise DamagedError(path / ABOUT, "it describes no arrays of a run")
        self.facts = _facts_of(path, self._group)

    @classmethod
    def create(cls, path: Path, arrays: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]], chunk: int) -> "Group":
        """A folder of arrays of these shapes and dtypes, without chunks, in chunks of `chunk` rows."""
        path.mkdir(exist_ok=True)
        for name, (shape, dtype) in arrays.items():
            ChunkedArray.create(path / name, shape, (chunk, *shape[1:]), dtype)
        (length,) = {shape[0] for shape, _ in arrays.values()}
        zarr.create_group(Folder(path), attributes=_sealed({"arrays": list(arrays), "length": length}, ()))
        return cls(path)

    def say(self, facts: Mapping[str, Any]) -> None:
        """Say more facts, or others in place of those of the same names."""
        self.facts = {**self.facts, **facts}
        self._group = self._group.update_attributes(_sealed(self.facts, ()))


def stored_facts(path: Path) -> dict[str, Any]:
    """What was said of an array or a group; nothing where there is none, or a damaged one."""
    try:
        return _facts_of(path, _opened(Folder(path)))
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


def _created(
    store: Any,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    facts: Mapping[str, Any],
) -> Any:
    kind: np.dtype[Any] = np.dtype(dtype)
    return zarr.create_array(
        store,
        shape=shape,
        chunks=chunks,
        dtype=kind,
        fill_value=fill,
        filters=None,
        compressors=[Crc32cCodec()],
        chunk_key_encoding=_KEYS,
        attributes=_sealed({**facts, "length": shape[0]}, _about(shape, chunks, kind, kind.type(fill))),
        config=ArrayConfig(order="C", write_empty_chunks=True),
    )


def _opened(folder: Folder) -> Any:
    """The array or group of zarr in a folder."""
    about = folder.root / ABOUT
    if not os.path.lexists(about):
        raise StoreError(f"{folder.root} is not there: run 'dupegrid run' again to make it")
    try:
        with zarr.config.set(_ZARR_SETTINGS):
            return zarr.open(folder, mode="r+", zarr_format=3)
    except DupegridError:
        raise
    except Exception:  # whatever zarr raises of what somebody made up
        raise DamagedError(about, "it describes no array of a run") from None


def _facts_of(path: Path, node: Any) -> dict[str, Any]:
    """What was said of an array or a group, once it is known to be what was written."""
    facts = dict(node.attrs)
    digest = facts.pop(DIGEST, None)
    facts = {key: value for key, value in facts.items() if key not in MADE_BY}
    if isinstance(node, zarr.Group):
        about: tuple[Any, ...] = ()
    else:
        about = _about(node.shape, node.chunks, node.dtype, node.metadata.fill_value)
        codecs = (BytesCodec() if node.dtype.itemsize > 1 else BytesCodec(endian=None), Crc32cCodec())
        if node.metadata.codecs != codecs or node.metadata.chunk_key_encoding != _KEYS:
            raise DamagedError(path / ABOUT, "its chunks have another form")
    if digest != fingerprint(facts, about):
        raise DamagedError(path / ABOUT, "it was never finished, or has changed")
    return facts


def _about(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, fill: Any) -> tuple[Any, ...]:
    """What zarr.json says of an array besides its length and its facts."""
    return shape[1:], chunks, str(dtype), repr(fill)


def _sealed(facts: Mapping[str, Any], about: tuple[Any, ...]) -> dict[str, Any]:
    """Facts as attributes for zarr.json, with a digest of them and of what else it says."""
    plain = {key: value for key, value in facts.items() if key not in (DIGEST, *MADE_BY)}
    return {**MADE_BY, **plain, DIGEST: fingerprint(plain, about)}


def _reshaped(array: Any, shape: tuple[int, ...]) -> Any:
    return type(array)(
        zarr.AsyncArray(array.metadata.update_shape(shape), array.store_path, config=array.async_array.config)
    )


def _place(number: tuple[int, ...], chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where values of a shape go that fill a chunk, or as much of it as there is of the array."""
    begins = [k * chunk for k, chunk in zip(number, chunks, strict=False)] + [0] * (len(chunks) - len(number))
    return tuple(slice(begin, begin + length) for begin, length in zip(begins, shape, strict=True))
