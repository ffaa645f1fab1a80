"""Files that hold chunks, and parts of them: rows that are read alone, the checksum at the end, what is there."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.errors import DamagedError
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.ours import TO_READ
from dupegrid.storage.tables import read_error

CHECKSUM_BYTES: Final = 4  # at the end of each chunk


def names_in(folder: Path) -> list[str]:
    """The names of the files right in a folder, or of the objects there, by one listing."""
    if isinstance(folder, BucketPath):
        return [path.name for path in folder.iterdir()]
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def end_of(folder: Path, name: str, start: int) -> bytes:
    """At most five bytes of a file from `start` on: where these are four, the checksum that it ends with."""
    try:
        return _read_parts(folder, name, [start], CHECKSUM_BYTES + 1).tobytes()
    except OSError:
        return b""


def read_rows(folder: Path, name: str, numbers: list[int], size: int) -> npt.NDArray[np.uint8]:
    """Rows of a file of rows of `size` bytes, by their numbers: uint8 (n, size).

    DamagedError where the file is missing or ends before.
    """
    try:
        rows = _read_parts(folder, name, [number * size for number in numbers], size)
    except OSError as error:
        raise read_error(folder / name, error) from None
    if len(rows) != len(numbers) * size:
        raise DamagedError(folder / name, "it is short")
    return rows.reshape(-1, size)


def _read_parts(folder: Path, name: str, starts: list[int], size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes of a file from each of these places on, in a row; fewer where it ends."""
    if isinstance(folder, BucketPath):
        return np.frombuffer(b"".join((folder / name).read_parts(starts, size)), np.uint8)
    out = np.empty((len(starts), size), np.uint8)
    descriptor = os.open(f"{folder}/{name}", TO_READ)  # joined in 1 microsecond, where a Path takes 10
    try:
        with suppress(OSError):  # a file system that cannot
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no more than these is read for them
            for start in starts[1:]:  # all are on their way while the first is waited for
                os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_WILLNEED)
        read = sum([os.preadv(descriptor, [out[k]], start) for k, start in enumerate(starts)])
    finally:
        os.close(descriptor)
    return out.ravel()[:read]
