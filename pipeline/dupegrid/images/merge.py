"""A new listing and what is known from earlier runs -> one table of files in which every known file keeps its id."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from dupegrid.arrays import Ints
from dupegrid.records import FILES

Hashes = Callable[[Sequence[int]], list[str | None]]

_READ_AT_ONCE_BYTES = 1 << 20


def merge(known: pa.Table, listed: pa.Table, unreadable_folders: Sequence[str], hashes: Hashes) -> pa.Table:
    """The files of `known` by their ids, as they are now, and after them those that are new; schema FILES.

    A file is known by its path; else, if the known one is gone, by device, inode, size and mtime; else by its bytes,
    where size and either mtime or name agree: `hashes` gives those of ids, None where there is none. Files that are
    gone are 'removed', unless their folder could not be listed.
    """
    place = {path: row for row, path in enumerate(listed["path_raw"].to_pylist())}
    known_paths = known["path_raw"].to_pylist()
    source = np.array([place.get(path, -1) for path in known_paths], np.int64)  # row of `listed` for each id
    new = np.ones(len(listed), bool)
    new[source[source >= 0]] = False
    hidden = tuple(os.fsencode(folder) + b"/" for folder in unreadable_folders)
    gone = [id for id in np.flatnonzero(source < 0).tolist() if not (hidden and known_paths[id].startswith(hidden))]
    proven = _moved(known, listed, gone, np.flatnonzero(new), hashes)
    for id, (row, _) in proven.items():
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
        "known_hash": _known_hashes(known, table, {id: proof for id, (_, proof) in proven.items()}),
    }
    return pa.table({name: columns.get(name, table[name]) for name in FILES.names}, schema=FILES)


def _known_hashes(known: pa.Table, now: pa.Table, proven: dict[int, str | None]) -> pa.Array:
    """The hashes that moved files are known by: just proven, or from before where the file is the same still."""
    same = np.ones(len(known), bool)
    for name in ("device", "inode", "size_bytes", "mtime_ns"):
        same &= known[name].to_numpy() == now[name].to_numpy()[: len(known)]
    before = known["known_hash"].to_pylist()
    kept = [proven.get(id) or (before[id] if same[id] else None) for id in range(len(known))]
    return pa.array(kept + [None] * (len(now) - len(known)), pa.string())


def _moved(
    known: pa.Table, listed: pa.Table, gone: Sequence[int], new: Ints, hashes: Hashes
) -> dict[int, tuple[int, str | None]]:
    """Ids of files that are gone -> the new row that is the same file, and the hash that proved it, if one had to."""
    if not gone or not len(new):
        return {}
    there = listed.take(pa.array(new)).to_pylist()
    found: dict[int, tuple[int, str | None]] = {}
    by_inode = defaultdict(list)
    by_size = defaultdict(list)
    for row, file in zip(new.tolist(), there, strict=True):
        by_inode[_inode(file)].append(row)
        by_size[file["size_bytes"]].append((row, file))
    taken = set()
    candidates: list[tuple[int, int, bytes]] = []
    for id, old in zip(gone, known.take(pa.array(gone, pa.int64())).to_pylist(), strict=True):
        same = [row for row in by_inode[_inode(old)] if row not in taken]
        if same:
            found[id] = (same[0], None)
            taken.add(same[0])
            continue
        for row, file in by_size[old["size_bytes"]]:
            alike = file["mtime_ns"] == old["mtime_ns"] or _name(file) == _name(old)
            if alike and (file["root"], file["group"]) == (old["root"], old["group"]):
                candidates.append((id, row, file["path_raw"]))
    wanted = dict(zip(ids := sorted({id for id, _, _ in candidates}), hashes(ids), strict=True))
    to_read = sorted({path for id, _, path in candidates if wanted[id]})
    with ThreadPoolExecutor() as pool:
        hash_of = dict(zip(to_read, pool.map(_hash, to_read), strict=True))
    for id, row, path in candidates:
        if id not in found and row not in taken and wanted[id] and wanted[id] == hash_of[path]:
            found[id] = (row, wanted[id])
            taken.add(row)
    return found


def _inode(file: dict[str, object]) -> tuple[object, ...]:
    return tuple(file[name] for name in ("device", "inode", "size_bytes", "mtime_ns", "root", "group"))


def _name(file: dict[str, bytes]) -> bytes:
    return os.path.basename(file["path_raw"])


def _hash(path: bytes) -> str | None:
    """As in images.parquet; None where the file cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while data := file.read(_READ_AT_ONCE_BYTES):
                digest.update(data)
    except OSError:
        return None
    return digest.hexdigest()
