"""What a walk found, as a table: which names are of one file, which times say something, which root a path is under."""

import contextlib
import fnmatch
import os
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints, clamped64
from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.storage.schemas import FILES


class Stamps(NamedTuple):
    """What is known of a file that lies in no folder, by the names that the status of a file has."""

    st_size: int = 0
    st_mtime_ns: int = 0
    st_ctime_ns: int = 0
    st_dev: int = 0
    st_ino: int = 0
    st_nlink: int = 1


Found = tuple[bytes, os.stat_result | Stamps, bool]  # path, status, whether a symbolic link was followed to get there

# The names that `apply` gives: no walk goes into the one, or takes the others, of an act, for pictures.
QUARANTINE = b".dupegrid-quarantine"
ASIDE, COPY, LINK = (b".dupegrid-%s." + kind for kind in (b"aside", b"copy", b"link"))
_ACT = rb"\d{8}-\d{6}-[0-9a-f]{6}-\d+"  # the id of one
_ON_ITS_WAY = re.compile(b"|".join(re.escape(name).replace(b"%s", _ACT) for name in (ASIDE, COPY, LINK)))
_ESCAPED = (b"http://", b"https://")
_SIGNED, _UNSIGNED = ("size_bytes", "mtime_ns", "ctime_ns"), ("device", "inode")
_SAMPLE = 8  # files of a device that are looked at twice
_TOLD_EVERY = 1000  # files
_AT_ONCE = 1 << 20  # paths in one piece of their column
_HARD, _SYMBOLIC = range(2)  # places in _KINDS
_KINDS = ("hard", "symbolic")  # link_kind of images.parquet

Kinds = npt.NDArray[np.int8]


class Rows:
    """What was found, in columns: some 120 bytes a file, most of them its path."""

    def __init__(self) -> None:
        self._bytes = bytearray()  # of all paths, one after the other
        self._ends = array("q", [0])
        self._roots = array("i")
        self._signed, self._unsigned = array("q"), array("Q")  # _SIGNED, _UNSIGNED and the names, by its own account
        self._over_link = array("b")
        self._order = [np.empty(0, np.int64)]

    def __len__(self) -> int:
        return len(self._over_link)

    def add(self, root: int, files: Iterator[Found], found: Callable[[int], None]) -> None:
        """Take the files of a root, to be listed by the bytes of their paths."""
        start = len(self)
        for count, (path, status, over_link) in enumerate(files, 1):
            self._bytes += path
            self._ends.append(len(self._bytes))
            signed = [status.st_size, status.st_mtime_ns or 0, status.st_ctime_ns or 0]
            try:
                self._signed.fromlist(signed)
            except OverflowError:
                self._signed.fromlist(list(map(clamped64, signed)))
            self._unsigned.fromlist([status.st_dev, status.st_ino, status.st_nlink])
            self._over_link.append(over_link)
            if count % _TOLD_EVERY == 0:
                found(_TOLD_EVERY)
        count = len(self) - start
        found(count % _TOLD_EVERY)
        self._roots.extend(repeat(root, count))
        names = self._paths().slice(start)
        if pc.any(pc.starts_with(names, b"http")).as_py():
            names = pa.array(map(plain, names.to_pylist()), pa.large_binary())
        self._order.append(start + pc.sort_indices(names).to_numpy().astype(np.int64))

    def paths(self) -> set[bytes]:
        """The paths found so far."""
        return set(self._paths().to_pylist())

    def table(self, config: Config) -> pa.Table:
        """All of it, schema FILES; nothing is left here, so that what becomes a column is not held twice."""
        order = np.concatenate(self._order)
        self._order.clear()
        roots = np.array(self._roots)[order]
        # Some file systems use all 64 bits of an inode: the same bits as int64.
        unsigned = np.frombuffer(self._unsigned, np.int64).reshape(-1, len(_UNSIGNED) + 1)
        signed = np.frombuffer(self._signed, np.int64).reshape(-1, len(_SIGNED))
        *both, names = (*signed.T, *unsigned.T)
        numbers = dict(zip((*_SIGNED, *_UNSIGNED), both, strict=True))
        for name in ("mtime_ns", "ctime_ns"):
            numbers[name][np.isin(numbers["device"], self._unsteady(name, numbers, config.follow_symlinks))] = 0
        kinds = self._link_kinds(numbers, names, spelled=config.follow_symlinks or config.files_from is not None)[order]
        paths, starts = self._paths(), range(0, len(order), _AT_ONCE)
        pieces = [paths.take(pa.array(order[start : start + _AT_ONCE])).cast(pa.binary()) for start in starts]
        del paths
        self._bytes, self._ends = bytearray(), array("q", [0])
        columns = {
            "id": np.arange(len(order)),
            "path_raw": pa.chunked_array(pieces, pa.binary()),
            "root": roots,
            "group": sides(config, roots),
            **{name: values[order] for name, values in numbers.items()},
            "link_kind": pa.array(_KINDS).take(pa.array(kinds, mask=kinds < 0)),
            "removed": np.zeros(len(order), bool),
            "left_out": np.zeros(len(order), bool),
            "known_hash": pa.nulls(len(order), pa.string()),
        }
        return pa.table(columns, schema=FILES)

    def _paths(self) -> pa.Array:
        """All paths found so far, without a copy; none can be added while that is held."""
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    def _path(self, row: int) -> bytes:
        return bytes(self._bytes[self._ends[row] : self._ends[row + 1]])

    def _unsteady(self, name: str, numbers: dict[str, Ints], follow: bool) -> list[int]:
        """The devices of which every file that is looked at again has another time now: it says nothing there."""
        unsteady = []
        for device in np.unique(numbers["device"]).tolist():
            here = np.flatnonzero(numbers["device"] == device)
            differ = []
            for row in here[:: -(-len(here) // _SAMPLE)].tolist():
                with contextlib.suppress(OSError):
                    status = os.stat(self._path(row), follow_symlinks=follow)
                    differ.append(clamped64(getattr(status, f"st_{name}")) != numbers[name][row])
            if differ and all(differ):
                unsteady.append(device)
        return unsteady

    def _link_kinds(self, numbers: dict[str, Ints], names: Ints, spelled: bool) -> Kinds:
        """Of each file its place in _KINDS, -1 for none; `spelled` if one may have been found by several spellings."""
        kinds = np.full(len(self), -1, np.int8)
        for kind, of in ((_HARD, names > 1), (_SYMBOLIC, np.array(self._over_link, bool))):
            kinds[of] = kind
        order = np.lexsort((numbers["inode"], numbers["device"]))
        apart = [np.diff(numbers[name][order]) != 0 for name in ("device", "inode")]
        cuts = np.concatenate([[0], np.flatnonzero(apart[0] | apart[1]) + 1, [len(order)]])
        for group in np.flatnonzero(np.diff(cuts) > 1).tolist():
            rows = order[cuts[group] : cuts[group + 1]]
            self._tell_apart(rows.tolist(), names[rows].tolist(), kinds, spelled)
        return kinds

    def _tell_apart(self, rows: Sequence[int], names: Sequence[int], kinds: Kinds, spelled: bool) -> None:
        """Of the paths of one inode, call spellings of another 'symbolic', and no more 'hard' than there are names.

        Where there are more, the inode is no proof: some file systems give the same to all files.
        """
        spellings = defaultdict(list)
        for row in rows:
            path = self._path(row)
            spellings[os.path.realpath(path) if spelled else path].append(row)
        for real, same in spellings.items():
            same.sort(key=lambda row: (self._over_link[row], self._path(row) != real, self._path(row)))
            for row in same[1:]:
                kinds[row] = _SYMBOLIC
        for row, count in zip(rows, names, strict=True):
            if kinds[row] == _HARD and len(spellings) > count:
                kinds[row] = -1


def stamps(place: bytes, name: bytes, size_bytes: int, mtime_ns: int, proof: Sequence[Any]) -> Stamps:
    """The stamps of a file, of that name in an archive or at an address, from what proves that it has not changed.

    They differ where the proof does. The change time is the other time, or 0 where there is no proof: merge.py and the
    index then go by the hash.
    """
    time_ns = mtime_ns or int(bool(proof))
    whole = [name.hex(), size_bytes, time_ns, *proof]
    numbers = [int(fingerprint(*parts)[:16], 16) for parts in ([place.hex()], whole)]
    return Stamps(size_bytes, time_ns, time_ns if proof else 0, *numbers)


def plain(path: bytes) -> bytes:
    """A path as its names are: without the escapes of web addresses."""
    return unquote_to_bytes(path) if path.startswith(_ESCAPED) else path


def is_ours(name: bytes) -> bool:
    """Whether a file or folder of this name is one that `apply` put there: a quarantine, or a file on its way."""
    return name.startswith(b".dupegrid-") and (name == QUARANTINE or _ON_ITS_WAY.fullmatch(name) is not None)


def names_below(folder: bytes, path: bytes) -> list[str]:
    """The names of the folders and the file on the way from a folder, with its '/', to a path below it."""
    return os.fsdecode(plain(path)[len(plain(folder)) :]).split("/")


def sides(config: Config, roots: Ints) -> pa.Array:
    """The group of files under these roots, by number, -1 for none."""
    if not config.against:
        return pa.nulls(len(roots), pa.string())
    return pa.array(np.where(roots < config.first_against, "a", "b"), pa.string(), mask=roots < 0)


def with_roots(files: pa.Table, config: Config) -> pa.Table:
    """Files of an earlier run under the roots of this one, by their paths: schema FILES.

    A file is under the innermost folder; else named by the list of paths, where there is one; else its root is null.
    """
    the_list = len(config.paths) if config.files_from else -1
    roots = np.full(len(files), the_list)
    for number, folder in sorted(_folders(config), key=lambda entry: len(entry[1])):
        is_it = pc.equal(files["path_raw"], pa.scalar(folder[:-1], pa.binary()))  # a root may be a file
        roots[pc.or_(pc.starts_with(files["path_raw"], folder), is_it).to_numpy()] = number
    columns = {"root": pa.array(roots.astype(np.int32), mask=roots < 0), "group": sides(config, roots)}
    return pa.table({name: columns.get(name, files[name]) for name in FILES.names}, schema=FILES)


def with_left_out(files: pa.Table, config: Config) -> pa.Table:
    """Say of the removed ones among files (schema FILES) whether the settings leave them out."""
    left_out = np.zeros(len(files), bool)
    removed = np.flatnonzero(files["removed"].to_numpy(zero_copy_only=False))
    folders = dict(_folders(config))
    ignored = tuple(os.fsencode(path).rstrip(b"/") + b"/" for path in config.ignore_path)
    for row, file in zip(removed.tolist(), files.take(pa.array(removed)).to_pylist(), strict=True):
        path = file["path_raw"]
        names = names_below(folders[file["root"]], path) if file["root"] in folders else []
        left_out[row] = (
            not has_extension(path, config)
            or (file["link_kind"] == "symbolic" and not config.follow_symlinks)
            or (path + b"/").startswith(ignored)
            or any(is_ignored(name, config.ignore_name) for name in names)
        )
    return files.set_column(files.column_names.index("left_out"), "left_out", pa.array(left_out))


def has_extension(path: bytes, config: Config) -> bool:
    """Whether a path ends as one of --extensions, if there are any."""
    return config.extensions is None or path.lower().endswith(tuple(map(os.fsencode, config.extensions)))


def is_ignored(name: str, patterns: Iterable[str]) -> bool:
    """Whether the name of a file or folder is one of those that --ignore-name leaves out."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _folders(config: Config) -> Iterator[tuple[int, bytes]]:
    """The folders among the roots, each with its number and as its paths begin; of one named twice, the first."""
    the_list = len(config.paths) if config.files_from else -1
    for number, root in reversed(list(enumerate(config.roots))):
        if number != the_list:
            yield number, os.fsencode(root).rstrip(b"/") + b"/"
