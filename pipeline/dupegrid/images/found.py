"""What a walk found, in columns: which names are of one file, which times say something."""

import contextlib
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints, clamped64, id_dtype
from dupegrid.core.config import Config
from dupegrid.images.listing import Found, plain, sides
from dupegrid.storage.schemas import FILES

_SIGNED, _UNSIGNED = ("size_bytes", "mtime_ns", "ctime_ns"), ("device", "inode")
_SAMPLE = 8  # files of a device that are looked at twice
_TOLD_EVERY = 1000  # files
_MOST_NAMES = (1 << 32) - 1  # of a file that are told apart
_AT_ONCE = 1 << 16  # files, as a table or as objects of Python's
_HARD, _SYMBOLIC = range(2)  # places in _KINDS
_KINDS = ("hard", "symbolic")  # link_kind of images.parquet

Kinds = npt.NDArray[np.int8]


@dataclass(frozen=True)
class ListedFiles:
    """Files in the order of a listing: 53 bytes each and the path. Rows of a table are made as they are asked for."""

    paths: pa.LargeBinaryArray  # as they were found, like all numbers
    order: Ints  # the place among these of each file; int32 where that holds all
    roots: Sequence[tuple[int, int]]  # and how many files are of each, in order
    columns: dict[str, Ints]  # of _SIGNED and _UNSIGNED
    kinds: Kinds  # of links: places in _KINDS, -1 for none
    config: Config

    def __len__(self) -> int:
        return len(self.order)

    def starts(self) -> Ints:
        """The place of the first file of each root, and how many there are."""
        return np.cumsum([0, *(count for _, count in self.roots)])

    def paths_at(self, places: Ints) -> pa.BinaryArray:
        """The paths of the files at these places of the listing."""
        return self.paths.take(pa.array(self.order[places])).cast(pa.binary())

    def numbers(self, name: str, places: Ints) -> Ints:
        """Sizes, times, devices or inodes, by the name of the column, of the files at these places."""
        return self.columns[name][self.order[places]]

    def at(self, places: Ints) -> pa.Table:
        """The files at these places, which are their ids: schema FILES."""
        kinds = self.kinds[self.order[places]]
        roots = np.array([root for root, _ in self.roots], np.int64)
        roots = roots[np.searchsorted(self.starts()[1:], places, "right")]
        columns = {
            "id": places,
            "path_raw": self.paths_at(places),
            "root": roots,
            "group": sides(self.config, roots),
            **{name: self.numbers(name, places) for name in self.columns},
            "link_kind": pa.array(_KINDS).take(pa.array(kinds, mask=kinds < 0)),
            "removed": np.zeros(len(places), bool),
            "left_out": np.zeros(len(places), bool),
            "known_hash": pa.nulls(len(places), pa.string()),
        }
        return pa.table(columns, schema=FILES)

    def tables(self, chunk: int = 1) -> Iterator[pa.Table]:
        """All of them, in tables of whole chunks of so many, but for the last."""
        at_once = chunk * max(1, _AT_ONCE // chunk)
        for start in range(0, len(self), at_once):
            yield self.at(np.arange(start, min(start + at_once, len(self))))

    def table(self) -> pa.Table:
        """All of them in one table."""
        return pa.concat_tables([FILES.empty_table(), *self.tables()])


class FoundFiles:
    """What was found so far: some 53 bytes a file, and its path."""

    def __init__(self) -> None:
        self._bytes = bytearray()  # of all paths, one after the other
        self._ends = array("q", [0])
        self._roots = list[tuple[int, int]]()  # and how many files are of each
        self._signed, self._unsigned = array("q"), array("Q")  # _SIGNED and _UNSIGNED
        self._names = array("I")  # that a file has, by its own account
        self._over_link = array("b")
        self._order = list[Ints]()

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
            self._unsigned.fromlist([status.st_dev, status.st_ino])
            self._names.append(min(status.st_nlink, _MOST_NAMES))
            self._over_link.append(over_link)
            if count % _TOLD_EVERY == 0:
                found(_TOLD_EVERY)
        count = len(self) - start
        found(count % _TOLD_EVERY)
        self._roots.append((root, count))
        names = self._paths().slice(start)
        if pc.any(pc.starts_with(names, b"http")).as_py():
            pieces = (names.slice(first, _AT_ONCE).to_pylist() for first in range(0, count, _AT_ONCE))
            names = pa.chunked_array([pa.array(map(plain, piece), pa.large_binary()) for piece in pieces])
        self._order.append(start + pc.sort_indices(names).to_numpy().astype(id_dtype(len(self))))

    def paths(self) -> set[bytes]:
        """The paths found so far."""
        return set(self._paths().to_pylist())

    def listed(self, config: Config) -> ListedFiles:
        """All of it, without a copy: nothing can be added afterwards."""
        # Some file systems use all 64 bits of an inode: the same bits as int64.
        unsigned = np.frombuffer(self._unsigned, np.int64).reshape(-1, len(_UNSIGNED))
        signed = np.frombuffer(self._signed, np.int64).reshape(-1, len(_SIGNED))
        numbers = dict(zip((*_SIGNED, *_UNSIGNED), (*signed.T, *unsigned.T), strict=True))
        for name in ("mtime_ns", "ctime_ns"):
            if unsteady := self._unsteady(name, numbers, config.follow_symlinks):
                numbers[name][np.isin(numbers["device"], unsteady)] = 0
        kinds = self._link_kinds(numbers, spelled=config.follow_symlinks or config.files_from is not None)
        order = np.concatenate([np.empty(0, np.int32), *self._order])
        self._order.clear()
        return ListedFiles(self._paths(), order, tuple(self._roots), numbers, kinds, config)

    def _paths(self) -> pa.Array:
        """All paths found so far, without a copy; none can be added while that is held."""
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    def _path(self, row: int) -> bytes:
        return bytes(self._bytes[self._ends[row] : self._ends[row + 1]])

    def _unsteady(self, name: str, numbers: dict[str, Ints], follow: bool) -> list[int]:
        """The devices of which every file that is looked at again has another time now: it says nothing there."""
        unsteady = []
        for device in values_in(numbers["device"]).tolist():
            here = np.flatnonzero(numbers["device"] == device)
            differ = []
            for row in here[:: -(-len(here) // _SAMPLE)].tolist():
                with contextlib.suppress(OSError):
                    status = os.stat(self._path(row), follow_symlinks=follow)
                    differ.append(clamped64(getattr(status, f"st_{name}")) != numbers[name][row])
            if differ and all(differ):
                unsteady.append(device)
        return unsteady

    def _link_kinds(self, numbers: dict[str, Ints], spelled: bool) -> Kinds:
        """Of each file its place in _KINDS, -1 for none; `spelled` if one may have been found by several spellings."""
        kinds, names = np.full(len(self), -1, np.int8), np.frombuffer(self._names, np.uint32)
        for kind, of in ((_HARD, names > 1), (_SYMBOLIC, np.frombuffer(self._over_link, bool))):
            kinds[of] = kind
        if not spelled and not np.any(kinds == _HARD):
            return kinds
        device, inode = numbers["device"], numbers["inode"]
        several = _of_several(inode)
        order = several[np.lexsort((inode[several], device[several]))]
        apart = [np.diff(column[order]) != 0 for column in (device, inode)]
        cuts = [0, *(np.flatnonzero(apart[0] | apart[1]) + 1).tolist(), len(order)]
        for first, last in pairwise(cuts):
            rows = order[first:last]
            if len(rows) > 1 and (spelled or np.any(kinds[rows] == _HARD)):
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


def values_in(numbers: Ints) -> Ints:
    """The values of a long column, each once."""
    return pc.unique(pa.array(numbers)).to_numpy()  # type: ignore[no-any-return]


def _of_several(numbers: Ints) -> Ints:
    """The places in a long column of the values that are there more than once, ascending."""
    values = np.sort(numbers)
    several = values[1:][values[1:] == values[:-1]]
    return np.flatnonzero(pc.is_in(pa.array(numbers), pa.array(several)).to_numpy(zero_copy_only=False))
