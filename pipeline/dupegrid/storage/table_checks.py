"""Rows of a table that no run would write: somebody made them up, and what they name is not there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import DamagedError
from dupegrid.storage.words import REASONS, RULES

_MAY_LACK: Final = ("identical_to", "link_of", "root")
_FILLED: Final = {"path", "path_raw", "size_bytes", "mtime_ns", "ctime_ns", "device", "inode", "status"}
_WORDS: Final = {"reason": REASONS, "rule": RULES}  # of clusters.parquet, which are looked up to be shown


def check_files(path: Path, files: pa.Table) -> pa.Table:
    """Give back rows of files.parquet. DamagedError for what no run would say: somebody made it up then."""
    return _check_filled(path, files, ["path_raw", "size_bytes", "removed"])


def check_images(path: Path, images: pa.Table, count: int | None = None, start: int = 0) -> pa.Table:
    """Give back rows of images.parquet, or some of its `count`. DamagedError where one says what no run would.

    Somebody made it up then. Looks at those columns that are there; rows that have their ids are those from `start` on.
    """
    count, there = len(images) if count is None else count, set(images.column_names)
    if "id" in there and not np.array_equal(images["id"].to_numpy(), np.arange(start, start + len(images))):
        raise DamagedError(path, "its ids are not 0, 1, 2, ...")
    check_ids(path, images, sorted(there & {"identical_to", "link_of"}), count)
    if {"status", "width", "height"} <= there:
        read = images.select(["width", "height"]).filter(pc.equal(images["status"], "ok"))
        sides = pc.min_element_wise(read["width"].fill_null(0), read["height"].fill_null(0))
        if len(read) and pc.min(sides).as_py() < 1:
            raise DamagedError(path, "a picture in it has no size")
    return _check_filled(path, images, sorted(there & _FILLED))


def check_clusters(path: Path, clusters: pa.Table, images: int, before: int = -1) -> pa.Table:
    """Give back rows of clusters.parquet, or those after cluster `before`. DamagedError for what no run would say.

    Somebody made it up then. Looks at those columns that are there.
    """
    there = {*clusters.column_names}
    check_ids(path, clusters, sorted(there & {"image", "keeper"}), images)
    _check_filled(path, clusters, sorted(there & {"cluster", "role", "path_raw"}))
    for name in sorted(there & _WORDS.keys()):
        if {*clusters[name].unique().to_pylist()} - {*_WORDS[name], None}:
            raise DamagedError(path, f"it has a {name} that is none")
    number = clusters["cluster"].to_numpy() if "cluster" in there else np.empty(0)
    if len(number) and (number[0] < 0 or not np.isin(np.diff(number, prepend=before), (0, 1)).all()):
        raise DamagedError(path, "its clusters are not numbered 0, 1, 2, ...")
    return clusters


def check_ids(path: Path, table: pa.Table, names: Sequence[str], count: int) -> pa.Table:
    """Give back a table. DamagedError where one of these columns names an image, or a root, that is none of `count`."""
    _check_filled(path, table, [name for name in names if name not in _MAY_LACK])
    for name in names:
        ends = pc.min_max(table[name]).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] < count:
            what = f"{'root' if name == 'root' else 'image'} {ends['min'] if ends['min'] < 0 else ends['max']}"
            raise DamagedError(path, f"it names {what} of {count}")
    return table


def _check_filled(path: Path, table: pa.Table, names: Sequence[str]) -> pa.Table:
    for name in names:
        if table[name].null_count:
            raise DamagedError(path, f"it has rows without {name!r}")
    return table
