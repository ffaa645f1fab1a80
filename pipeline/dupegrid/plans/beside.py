"""The regular files in some folders, as they are now: what may belong to the pictures of a plan. Reads only."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pyarrow as pa

from dupegrid.core.arrays import clamped64, signed64
from dupegrid.images.xmp import PACKET_BYTES, rating_in
from dupegrid.plans.units import BESIDE, may_go_along


def beside(folders: Iterable[bytes]) -> pa.Table:
    """The regular files of folders (schema BESIDE); of what may belong to a picture, its stamps too.

    A folder that is gone or cannot be listed has none: `apply` looks at each file again.
    """
    rows: list[dict[str, Any]] = []
    for folder in sorted(set(folders)):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):  # it went in between
                    if entry.is_file(follow_symlinks=False):
                        rows.append({"path_raw": entry.path, **_stamps(entry)})
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["path_raw"]), BESIDE)


def rating_of(sidecar: bytes) -> int | None:
    """The rating that an XMP sidecar says; None where it says none, is no regular file, or cannot be read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(sidecar, flags)
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return rating_in(os.read(descriptor, PACKET_BYTES)) if is_file else None
        finally:
            os.close(descriptor)
    except OSError:
        return None


def _stamps(entry: os.DirEntry[bytes]) -> dict[str, int]:
    if not may_go_along(entry.name):
        return {}
    status = entry.stat(follow_symlinks=False)
    return {
        "size_bytes": status.st_size,
        "mtime_ns": clamped64(status.st_mtime_ns),
        "ctime_ns": clamped64(status.st_ctime_ns),
        "device": signed64(status.st_dev),
        "inode": signed64(status.st_ino),
    }
