"""The zarr stores of a run: thumbnails, and the marks that say which tiles are done. The only file that knows zarr.

One task writes one whole chunk, so a chunk that exists was finished. zarr leaves out chunks that equal the fill value
unless told otherwise, and reads missing ones as that value: every handle made here writes empty chunks too, and no
chunk is read as data before it was found among the existing ones.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.sync import sync

from dupegrid.config import CHANNELS
from dupegrid.errors import StoreError

NOT_DONE: Final = -1


class Thumbs:
    """thumbs.zarr: uint8 (n, S, S, 3) in chunks of `chunk` images, uncompressed, each with a checksum."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _opened(path, "dupegrid index")
        self.chunk: int = self._array.chunks[0]
        self.side: int = self._array.shape[1]
        self.fingerprint: str = self._array.attrs["fingerprint"]

    @classmethod
    def create(cls, path: Path, images: int, side: int, chunk: int, fingerprint: str) -> "Thumbs":
        """An empty store for this many images, in place of whatever was there."""
        _create(path, (images, side, side, CHANNELS), (chunk, side, side, CHANNELS), "uint8", 0, fingerprint)
        return cls(path)

    def __len__(self) -> int:
        return int(self._array.shape[0])

    @property
    def chunks(self) -> int:
        """How many chunks a complete store holds."""
        return -(-len(self) // self.chunk)

    def done(self) -> set[int]:
        """The numbers of the chunks that exist."""
        return {key[0] for key in _existing_chunks(self._array)}

    def write_chunk(self, number: int, thumbs: npt.NDArray[np.uint8]) -> None:
        """Write chunk `number` whole: uint8 array of shape (images in it, S, S, 3)."""
        self._array[number * self.chunk : number * self.chunk + len(thumbs)] = thumbs

    def rows(self, rows: slice) -> npt.NDArray[np.uint8]:
        """Thumbnails of consecutive images: uint8 array of shape (k, S, S, 3). StoreError if a chunk is damaged."""
        try:
            return np.asarray(self._array[rows])
        except ValueError as error:  # the checksum does not match, or the chunk is short
            raise StoreError(f"{self.path} is damaged ({error}): delete the run directory and run again") from None

    def take(self, rows: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Thumbnails of the named images, in that order; each chunk is read once."""
        wanted = np.asarray(rows, np.int64)
        out = np.empty((len(wanted), self.side, self.side, CHANNELS), np.uint8)
        chunk_of = wanted // self.chunk
        for number in np.unique(chunk_of):
            here = np.flatnonzero(chunk_of == number)
            start = int(number) * self.chunk
            out[here] = self.rows(slice(start, start + self.chunk))[wanted[here] - start]
        return out

    def as_dask(self) -> da.Array:
        """The same array, lazy: uint8 (n, S, S, 3)."""
        return da.from_zarr(self._array)


class Tiles:
    """tiles.zarr: int64 (strips, strips, k); chunk (i, j) is the mark of tile (i, j) and holds its k counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _opened(path, "dupegrid compare")
        self.fingerprint: str = self._array.attrs["fingerprint"]

    @classmethod
    def create(cls, path: Path, strips: int, counts: int, fingerprint: str) -> "Tiles":
        """No tile done, in place of whatever was there."""
        _create(path, (strips, strips, counts), (1, 1, counts), "int64", NOT_DONE, fingerprint)
        return cls(path)

    def done(self) -> set[tuple[int, int]]:
        """The tiles whose mark exists."""
        return {(key[0], key[1]) for key in _existing_chunks(self._array)}

    def counts(self, i: int, j: int) -> npt.NDArray[np.int64]:
        """The counts of a tile that is done: int64 array of shape (k,)."""
        return np.asarray(self._array[i, j])

    def mark(self, i: int, j: int, counts: npt.NDArray[np.int64]) -> None:
        """Say that tile (i, j) is done and what was counted in it."""
        self._array[i, j] = counts


def stored_fingerprint(path: Path) -> str | None:
    """The fingerprint of a store, or None where there is no whole store."""
    try:
        fingerprint = zarr.open_array(path, mode="r").attrs.get("fingerprint")
    except (OSError, ValueError, KeyError):
        return None
    return None if fingerprint is None else str(fingerprint)


def chunk_size(images: int) -> int:
    """Images a chunk: a power of two from 32 to 256, so that small collections still keep every core busy."""
    return max(32, min(256, 1 << max(0, (images // 64).bit_length())))


def _create(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, fill: int, fingerprint: str
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
        return zarr.open_array(path, mode="r+").with_config({"write_empty_chunks": True})
    except (OSError, ValueError, KeyError):
        raise StoreError(f"{path} is missing or damaged: make it with '{verb}'") from None


def _existing_chunks(array: Any) -> set[tuple[int, ...]]:
    """The coordinates of the chunks in the store; unfinished '*.partial' files do not count."""

    async def keys() -> list[str]:
        return [key async for key in array.store.list_prefix("c/")]

    parts = (key.split("/")[1:] for key in sync(keys()))
    return {
        tuple(int(part) for part in coordinates) for coordinates in parts if all(p.isdecimal() for p in coordinates)
    }
