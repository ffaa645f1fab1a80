"""Which split and which label each image has: by a table that a caller gives, or by its folders. Pure."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import UsageError
from dupegrid.core.text import display_path, printable, shown_path
from dupegrid.results.named import ids_of

# Folders of these names are splits wherever they stand, as in dogs/train and cats/train.
_NAMES: Final = (b"train", b"training", b"val", b"valid", b"validation", b"dev", b"test", b"testing", b"eval")


@dataclass(frozen=True)
class Given:
    """What a caller says of the images: strings (n,), by id, null where nothing is said."""

    splits: pa.Array
    labels: pa.Array
    unknown: int = 0  # rows of the caller's table that name no image


def by_path(images: pa.Table, paths: Sequence[bytes | None], values: Sequence[str | None]) -> tuple[pa.Array, int]:
    """The value of each image, by its path or the end of it: strings (n,); and how many rows name no image.

    Raises UsageError where several images have such an end, or one has two values.
    """
    ids = ids_of(paths, images["path_raw"].to_pylist())
    found: list[str | None] = [None] * len(images)
    for row in np.flatnonzero(ids >= 0).tolist():
        place, value = int(ids[row]), values[row]
        if found[place] not in (None, value):
            name = shown_path(paths[row] or b"")
            raise UsageError(f"{name} is in two rows, as {printable(f'{found[place]!r} and {value!r}')}: leave one out")
        found[place] = value
    return pa.array(found, pa.string()), int((ids < 0).sum())


def split_by_folder(images: pa.Table) -> pa.Array:
    """The split of each image that was read, by the name of a folder: strings (n,), null outside of such folders.

    That is the first folder on its way called train, val, test or the like, where every image has one below the
    folder that all are in; else the folder right below that one.
    """
    ids, paths = _read(images)
    common = os.path.commonpath(paths) if len(paths) > 1 else b""
    ways = [path[len(common) :].strip(b"/").split(b"/")[:-1] for path in paths]
    named = [next((name for name in way if name.lower() in _NAMES), None) for way in ways]
    if None in named:
        named = [way[0] if way else None for way in ways]
    return _placed(images, ids, named)


def label_by_folder(images: pa.Table) -> pa.Array:
    """The name of the folder that each image that was read lies in: strings (n,)."""
    ids, paths = _read(images)
    return _placed(images, ids, [path.rpartition(b"/")[0].rpartition(b"/")[2] for path in paths])


def _read(images: pa.Table) -> tuple[list[int], list[bytes]]:
    ids = np.flatnonzero(pc.equal(images["status"], "ok").to_numpy())
    return ids.tolist(), images["path_raw"].take(pa.array(ids)).to_pylist()


def _placed(images: pa.Table, ids: Sequence[int], names: Sequence[bytes | None]) -> pa.Array:
    values: list[str | None] = [None] * len(images)
    for place, name in zip(ids, names, strict=True):
        values[place] = None if name is None else display_path(name)
    return pa.array(values, pa.string())
