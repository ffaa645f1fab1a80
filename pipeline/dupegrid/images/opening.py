"""The one way to open a file that was listed: what has taken its place since is neither waited for nor followed."""

import contextlib
import os
import stat
from typing import Final

from dupegrid.core.arrays import clamped64

_READ_AHEAD_BYTES: Final = 1 << 24
_UNKNOWN_BYTES: Final = 1 << 28  # at most, of a file that is said to be empty


class NotRegularError(OSError):
    """A pipe, device, socket or folder lies where a file was listed."""


def open_listed(path_raw: bytes, follow_symlinks: bool) -> int:
    """Open a listed file for reading. Returns its descriptor, which is of a regular file; the caller closes it.

    OSError where the system refuses, NotRegularError where it is no file any more.
    """
    return _opened(path_raw, follow_symlinks)[0]


def _opened(path_raw: bytes, follow_symlinks: bool) -> tuple[int, os.stat_result]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    descriptor = os.open(path_raw, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularError("it is no regular file any more")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status


class OpenedFile:
    """A file opened before its turn, so that the system reads ahead; `descriptor` is None where that failed."""

    def __init__(self, path_raw: bytes, follow_symlinks: bool = False) -> None:
        self.descriptor: int | None = None
        self.error: OSError | None = None
        try:
            self.descriptor, self.status = _opened(path_raw, follow_symlinks)
        except OSError as error:
            self.error = error
            return
        with contextlib.suppress(OSError):  # a file system that cannot
            os.posix_fadvise(self.descriptor, 0, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def stamps(status: os.stat_result, listed_ns: int) -> tuple[int, int]:
    """The size in bytes and the mtime of a file; 0 for the time where that of its listing says nothing."""
    return status.st_size, clamped64(status.st_mtime_ns) if listed_ns else 0


def read_from(descriptor: int, size_bytes: int) -> bytes:
    """What is left of an open file that was listed with so many bytes, and one byte more at most: it has grown then.

    All of a file that was listed with none, as some file systems do not say how much they hold; MemoryError where that
    is over `_UNKNOWN_BYTES`.
    """
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read((size_bytes or _UNKNOWN_BYTES) + 1)
    if not size_bytes and len(data) > _UNKNOWN_BYTES:
        raise MemoryError
    return data
