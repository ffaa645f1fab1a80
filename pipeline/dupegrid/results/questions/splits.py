"""Which split and which label each image has: by a table that a caller gives, or by its folders. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import display_path, printable, shown_path
from dupegrid.results.named import ids_of
from dupegrid.results.questions.tree import folders_in

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
    folders, code = _folders(images)
    parts = [folder.split(b"/") for folder in folders]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))
    common = len(list(shared)) if (code >= 0).sum() > 1 else 0
    ways = [[name for name in names[common:] if name] for names in parts]
    named = [next((name for name in way if name.lower() in _NAMES), None) for way in ways]
    if None in named:
        named = [way[0] if way else None for way in ways]
    return _placed(named, code)


def label_by_folder(images: pa.Table) -> pa.Array:
    """The name of the folder that each image that was read lies in: strings (n,)."""
    folders, code = _folders(images)
    return _placed([folder.rpartition(b"/")[2] for folder in folders], code)


def _folders(images: pa.Table) -> tuple[list[bytes], Ints]:
    """The folders that images lie in, and the place of each image's among them, int64 (n,); -1 where not read."""
    ids, code = np.flatnonzero(pc.equal(images["status"], "ok").to_numpy()), np.full(len(images), -1)
    folders, code[ids] = folders_in(images["path_raw"].take(pa.array(ids)))
    return folders, code


def _placed(names: Sequence[bytes | None], code: Ints) -> pa.Array:
    texts = [None if name is None else display_path(name) for name in names]
    return pa.array(texts, pa.string()).take(pa.array(code, mask=code < 0))
