"""The regular files in some folders, as they are now: what may belong to the pictures of a plan. Reads only."""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pyarrow as pa

from dupegrid.images.opening import open_listed
from dupegrid.images.xmp import PACKET_BYTES, rating_in
from dupegrid.plans.actions import stamps_of
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
                        stamps = stamps_of(entry.stat(follow_symlinks=False)) if may_go_along(entry.name) else {}
                        rows.append({"path_raw": entry.path, **stamps})
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["path_raw"]), BESIDE)


def rating_of(sidecar: bytes) -> int | None:
    """The rating that an XMP sidecar says; None where it says none, is no regular file, or cannot be read."""
    try:
        with open(open_listed(sidecar, follow_symlinks=False), "rb") as file:
            return rating_in(file.read(PACKET_BYTES))
    except OSError:
        return None
