"""A file's bytes in a new file, on the disk and read again, with its times and its mode; blocks shared with another."""

import fcntl
import hashlib
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from dupegrid.plans.intact import hash_of
from dupegrid.plans.roots import Place, SkippedError, pieces_of, write_all

_FIDEDUPERANGE: Final = 0xC0189436  # linux/fs.h
_RANGE: Final = struct.Struct("=QQHHIqQQiI")  # src_offset, src_length, dest_count, 2 reserved; dest_fd, its offset, ...
_AT_ONCE_BYTES: Final = 1 << 24  # what btrfs takes in one call


def copy(source: Place, target: Place, facts: Mapping[str, Any], file_hash: str | None) -> str:
    """Copy a file to a name that was free, and have the disk keep it. Returns the hash of both.

    `facts` are those of intact.facts_of. SkippedError where the copy, read again, is not what was read, or not of
    `file_hash`, where that is given; FileExistsError where the name is taken.
    """
    digest = hashlib.blake2b(digest_size=16)
    with source.opened() as reading, target.opened(os.O_RDWR | os.O_CREAT | os.O_EXCL) as writing:
        for piece in pieces_of(reading):
            digest.update(piece)
            write_all(writing, piece)
        _dress(reading, writing, facts)
        os.fsync(writing)
        with suppress(OSError):  # what is read again comes from the disk
            os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)
        read_again = hash_of(target, os.fstat(writing))
    if read_again != digest.hexdigest() or file_hash not in (None, read_again):
        raise SkippedError("could not be copied: the copy holds other bytes")
    return read_again


def write_new(target: Place, data: bytes, mode: int) -> None:
    """Write a new file, and have the disk keep it. FileExistsError where the name is taken."""
    with target.opened(os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
        write_all(writing, data)
        os.fchmod(writing, mode)
        os.fsync(writing)


def share_blocks(keeper: Place, drop: Place, size: int) -> None:
    """Have a file share the blocks of another. The system compares both, and refuses where they differ.

    OSError where the file system cannot, SkippedError where the two are not equal.
    """
    done = 0
    with keeper.opened() as source, drop.opened(os.O_RDWR) as target:
        while done < size:
            more = min(size - done, _AT_ONCE_BYTES)
            answer = fcntl.ioctl(source, _FIDEDUPERANGE, _RANGE.pack(done, more, 1, 0, 0, target, done, 0, 0, 0))
            *_, shared, status, _ = _RANGE.unpack(answer)
            if status < 0:
                raise OSError(-status, os.strerror(-status))
            if status or not shared:
                raise SkippedError("is not equal to the picture to keep byte for byte")
            done += shared


def _dress(source: int, target: int, facts: Mapping[str, Any]) -> None:
    """Give a file the owner, mode, attributes and times of another: as far as the system lets one, its times last."""
    with suppress(OSError):
        os.fchown(target, facts["uid"], facts["gid"])
    with suppress(OSError):
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, facts["mode"] & 0o7777)
    os.utime(target, ns=(facts["atime_ns"], facts["mtime_ns"]))
