"""Files that hold chunks, in a folder or a bucket: which are there, and some bytes of one."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.ours import TO_READ


def names_in(folder: Path) -> list[str]:
    """The names of the files right in a folder, or of the objects there, by one listing."""
    if isinstance(folder, BucketPath):
        return [path.name for path in folder.iterdir()]
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def read_at(folder: Path, name: str, starts: Sequence[int], size: int) -> list[bytes]:
    """`size` bytes of a file from each of these places on, fewer where it ends. OSError where it cannot be read."""
    if isinstance(folder, BucketPath):
        return (folder / name).read_parts(starts, size)
    descriptor = os.open(f"{folder}/{name}", TO_READ)  # joined in 1 microsecond, where a Path takes 10
    try:
        with suppress(OSError):  # a file system that cannot
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no more than a row is read for it
            for start in starts[1:]:  # all are on their way while the first is waited for
                os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_WILLNEED)
        return [os.pread(descriptor, size, start) for start in starts]
    finally:
        os.close(descriptor)
