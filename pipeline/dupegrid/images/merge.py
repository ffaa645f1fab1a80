"""A new listing and what is known from earlier runs -> one table of files in which every known file keeps its id."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Bools, Ints
from dupegrid.storage.schemas import FILES

Hashes = Callable[[Sequence[int]], list[str | None]]
Read = Callable[[Sequence[tuple[bytes, int]]], list[str | None]]

_CONTENT: Final = ("hash", "size_bytes", "root", "group")


def merge(known: pa.Table, listed: pa.Table, unreadable_folders: Sequence[str], hashes: Hashes, read: Read) -> pa.Table:
    """The files of `known` by their ids, as they are now, and after them those that are new; schema FILES.

    A file is known by its path, if size and times are those it had; else by its bytes, at that path, or at another if
    the known one is gone. `hashes` gives those of ids, `read` those of files by path and size, each None where there
    is none. Files that are gone are 'removed', unless their folder could not be listed.
    """
    place = {path: row for row, path in enumerate(listed["path_raw"].to_pylist())}
    known_paths = known["path_raw"].to_pylist()
    source = np.array([place.get(path, -1) for path in known_paths], np.int64)  # row of `listed` for each id
    new = np.ones(len(listed), bool)
    new[source[source >= 0]] = False
    hidden = tuple(os.fsencode(folder) + b"/" for folder in unreadable_folders)
    gone = [id for id in np.flatnonzero(source < 0).tolist() if not (hidden and known_paths[id].startswith(hidden))]
    proven, moved = _proven(known, listed, source, _may_have_moved(known, listed, gone, new), hashes, read)
    for id, row in moved.items():
        source[id], new[row] = row, False
    removed = np.array(known["removed"].to_numpy(zero_copy_only=False))
    removed[gone] = True
    removed[source >= 0] = False
    # Rows of `known` where a file is gone or hidden, else rows of `listed`.
    origin = np.where(source >= 0, len(known) + source, np.arange(len(known)))
    rows = np.concatenate([origin, len(known) + np.flatnonzero(new)])
    table = pa.concat_tables([known, listed]).take(pa.array(rows))
    columns = {
        "id": np.arange(len(rows)),
        "removed": np.concatenate([removed, np.zeros(int(new.sum()), bool)]),
        "known_hash": pa.array(proven + [None] * int(new.sum()), pa.string()),
    }
    return pa.table({name: columns.get(name, table[name]) for name in FILES.names}, schema=FILES)


def _may_have_moved(
    known: pa.Table, listed: pa.Table, gone: Sequence[int], new: Bools
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The files that are gone and the new ones among which one may be the other: of one size, under one root."""
    gone_sizes = known["size_bytes"].to_numpy()[gone]
    rows = np.flatnonzero(new & np.isin(listed["size_bytes"].to_numpy(), gone_sizes))
    ids = np.array(gone, np.int64)[np.isin(gone_sizes, listed["size_bytes"].to_numpy()[rows])]
    there = listed.take(pa.array(rows)).set_column(0, "id", pa.array(rows)).to_pylist()
    return known.take(pa.array(ids)).to_pylist(), there


def _proven(
    known: pa.Table,
    listed: pa.Table,
    source: Ints,
    candidates: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    hashes: Hashes,
    read: Read,
) -> tuple[list[str | None], dict[int, int]]:
    """The hash by which each known file is known to be the same, if need be; and the rows of those that moved."""
    trusted, doubtful, other = _by_stamps(known, listed, source)
    gone, there = candidates
    asked = sorted({*trusted, *doubtful, *(file["id"] for file in gone)})
    hash_of = dict(zip(asked, hashes(asked), strict=True))
    gone = [file | {"hash": hash_of[file["id"]]} for file in gone if hash_of[file["id"]]]
    kinds = {_kind(file) for file in gone}
    there = [file for file in there if _kind(file) in kinds]
    in_doubt = [id for id in doubtful if hash_of[id]]
    paths, sizes = listed["path_raw"], listed["size_bytes"]
    rows = [*(file["id"] for file in there), *(int(source[id]) for id in in_doubt)]
    found = dict(zip(rows, read([(paths[row].as_py(), sizes[row].as_py()) for row in rows]), strict=True))
    moved = _assigned(gone, [file | {"hash": found[file["id"]]} for file in there])
    proven: list[str | None] = known["known_hash"].to_pylist()
    for id in other:
        proven[id] = None
    for id in (*trusted, *moved, *(id for id in in_doubt if found[int(source[id])] == hash_of[id])):
        proven[id] = hash_of[id]
    return proven, moved


def _by_stamps(known: pa.Table, listed: pa.Table, source: Ints) -> tuple[list[int], list[int], list[int]]:
    """Of the ids whose path is there still: those of the same file, those that may be it, and all that differ at all.

    A change time cannot be set, so it proves a file whatever its device and inode, which some file systems give anew
    each time; but not where it is only another name for the time of modification, as it is for all files of a device
    then, nor where it is 0.
    """
    ids = np.flatnonzero((source >= 0) & ~known["removed"].to_numpy(zero_copy_only=False))
    rows = source[ids]

    def same(*names: str) -> Bools:
        agree = np.ones(len(ids), bool)
        for name in names:
            agree &= known[name].to_numpy()[ids] == listed[name].to_numpy()[rows]
        return agree

    changed, modified, device = (listed[name].to_numpy() for name in ("ctime_ns", "mtime_ns", "device"))
    telling = np.isin(device, np.unique(device[(changed != modified) & (changed != 0)]))[rows]
    alike = same("size_bytes", "mtime_ns")
    unchanged = alike & same("ctime_ns") & (changed[rows] != 0)
    sure = unchanged & same("device", "inode")
    trusted = unchanged & ~sure & telling
    return ids[trusted].tolist(), ids[alike & ~sure & ~trusted].tolist(), ids[~sure].tolist()


def _assigned(gone: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Ids of files that are gone -> the new one of the same bytes: of several one of the same inode or name first."""
    found: dict[int, int] = {}
    taken = set[int]()
    for names in (("device", "inode"), ("name",), ()):
        rows = defaultdict[tuple[Any, ...], deque[int]](deque)
        for file in there:
            if file["id"] not in taken:
                rows[_key(file, names)].append(file["id"])
        for file in gone:
            places = rows[_key(file, names)]
            if file["id"] not in found and places:
                found[file["id"]] = places.popleft()
                taken.add(found[file["id"]])
    return found


def _key(file: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    named = file | {"name": os.path.basename(file["path_raw"])}
    return tuple(named[name] for name in (*_CONTENT, *names))


def _kind(file: dict[str, Any]) -> tuple[Any, ...]:
    return file["size_bytes"], file["root"], file["group"]
