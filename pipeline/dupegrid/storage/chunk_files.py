"""Files that hold chunks, and parts of them: rows that are read alone, the checksum at the end, what is there."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.errors import DamagedError
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.files import read_bytes, read_error
from dupegrid.storage.ours import TO_READ

CHECKSUM_BYTES: Final = 4  # at the end of each chunk


def names_in(folder: Path) -> list[str]:
    """The names of what is right in a folder, by one listing."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def read_whole(files: Sequence[Path]) -> list[bytes]:
    """All of some files; of objects in a bucket, which are asked for at once. DamagedError where one is missing."""
    if not isinstance(files[0], BucketPath):
        return [read_bytes(file) for file in files]
    with ThreadPoolExecutor(len(files)) as pool:
        return list(pool.map(read_bytes, files))


def end_of(folder: Path, name: str, start: int) -> bytes:
    """At most five bytes of a file from `start` on: where these are four, the checksum that it ends with."""
    try:
        if isinstance(folder, BucketPath):
            return (folder / name).read_parts([start], CHECKSUM_BYTES + 1)[0]
        descriptor = os.open(f"{folder}/{name}", TO_READ)  # joined in 1 microsecond, where a Path takes 10
        try:
            return os.pread(descriptor, CHECKSUM_BYTES + 1, start)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def read_rows(folder: Path, rows: Iterable[tuple[str, list[int], list[int]]], out: npt.NDArray[np.uint8]) -> None:
    """Rows of files of rows: by its name, of each file those so numbered, to their places in `out`, uint8 (n, bytes).

    DamagedError where a file is missing or ends before.
    """
    name = ""
    if isinstance(folder, BucketPath):
        for name, offsets, places in rows:
            _read_parts(folder / name, offsets, places, out)
        return
    try:
        descriptor = os.open(folder, TO_READ | os.O_DIRECTORY)
        try:
            for name, offsets, places in rows:
                _read_alone(os.open(name, TO_READ, dir_fd=descriptor), offsets, places, out)
        finally:
            os.close(descriptor)
    except EOFError:
        raise DamagedError(folder / name, "it is short") from None
    except OSError as error:
        raise read_error(folder / name, error) from None


def _read_parts(path: BucketPath, offsets: list[int], places: list[int], out: npt.NDArray[np.uint8]) -> None:
    size = out.shape[1]
    try:
        rows = path.read_parts([offset * size for offset in offsets], size)
    except OSError as error:
        raise read_error(path, error) from None
    for place, row in zip(places, rows, strict=True):
        if len(row) != size:
            raise DamagedError(path, "it is short")
        out[place] = np.frombuffer(row, np.uint8)


def _read_alone(descriptor: int, offsets: list[int], places: list[int], out: npt.NDArray[np.uint8]) -> None:
    """Rows of one open file, to their places in `out`; it is closed then. EOFError where it ends before."""
    size = out.shape[1]
    try:
        with suppress(OSError):  # a file system that cannot
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no more than a row is read for it
            for offset in offsets[1:]:  # all are on their way while the first is waited for
                os.posix_fadvise(descriptor, offset * size, size, os.POSIX_FADV_WILLNEED)
        for offset, place in zip(offsets, places, strict=True):
            if os.preadv(descriptor, [out[place]], offset * size) != size:
                raise EOFError
    finally:
        os.close(descriptor)
