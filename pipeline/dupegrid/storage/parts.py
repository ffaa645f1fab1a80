"""Files that hold chunks, and parts of them: rows that are read alone, the checksum at the end, what is there."""

import os
from collections.abc import Sequence
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
        if isinstance(folder, BucketPath):
            return (folder / name).read_parts([start], CHECKSUM_BYTES + 1)[0]
        descriptor = os.open(f"{folder}/{name}", TO_READ)  # joined in 1 microsecond, where a Path takes 10
        try:
            return os.pread(descriptor, CHECKSUM_BYTES + 1, start)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def read_rows(
    folder: Path, name: str, offsets: Sequence[int], places: Sequence[int], out: npt.NDArray[np.uint8]
) -> None:
    """Rows of a file of rows: those numbered `offsets`, each to its place in `out`, uint8 (n, bytes of a row).

    DamagedError where it ends before.
    """
    size = out.shape[1]
    try:
        if isinstance(folder, BucketPath):
            rows = (folder / name).read_parts([offset * size for offset in offsets], size)
            for place, row in zip(places, rows, strict=True):
                if len(row) != size:
                    raise DamagedError(folder / name, "it is short")
                out[place] = np.frombuffer(row, np.uint8)
            return
        descriptor = os.open(f"{folder}/{name}", TO_READ)
        try:
            with suppress(OSError):  # a file system that cannot
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no more than a row is read for it
                for offset in offsets[1:]:  # all are on their way while the first is waited for
                    os.posix_fadvise(descriptor, offset * size, size, os.POSIX_FADV_WILLNEED)
            for offset, place in zip(offsets, places, strict=True):
                if os.preadv(descriptor, [out[place]], offset * size) != size:
                    raise DamagedError(folder / name, "it is short")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise read_error(folder / name, error) from None
