"""A new listing and what is known from earlier runs -> one table of files in which every known file keeps its id."""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints, id_dtype
from dupegrid.images.found import ListedFiles, values_in
from dupegrid.images.listing import with_left_out, with_roots
from dupegrid.storage.schemas import FILES

Known = Callable[[], Iterator[pa.Table]]
Hashes = Callable[[Sequence[int]], list[str | None]]
Read = Callable[[Sequence[tuple[bytes, int]]], list[str | None]]

# Of a file that moved: what proves it, and what makes it likely where its bytes cannot be read now. An id that is given
# without proof keeps nothing of what was found: the file is decoded, as one at a known path that has other bytes.
_PROOF: Final = ("hash", "size_bytes")
_LIKELY: Final = ("size_bytes", "mtime_ns")
_ALIKE: Final = (
    *((_PROOF, names) for names in (("device", "inode"), ("name",), ())),
    *((_LIKELY, names) for names in (("device", "inode"), ("name",))),
)
_AT_ONCE: Final = 1 << 16  # paths as objects of Python's
_TOLD_BY: Final = ["id", "path_raw", "size_bytes", "mtime_ns", "device", "inode"]  # which of the new ones it is
_SAME, _TRUSTED, _DOUBTFUL, _OTHER = range(4)  # what the stamps of a known file say, or that there are none


class Places:
    """Where paths are in a listing: found by a number of each path, 12 bytes a file, and then byte for byte."""

    def __init__(self, listed: ListedFiles) -> None:
        self._listed, count = listed, len(listed)
        pieces = (np.arange(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))
        self._numbers = np.empty(count, np.int64)
        for piece in pieces:
            self._numbers[piece] = _numbers(listed.paths_at(piece))
        self._places = np.argsort(self._numbers).astype(id_dtype(count))
        self._numbers.sort()

    def of(self, paths: pa.Array) -> Ints:
        """The place of each path, -1 where it is not listed."""
        numbers, places = _numbers(paths), np.full(len(paths), -1)
        at = np.searchsorted(self._numbers, numbers)
        left = np.arange(len(paths))
        while len(left):
            left = left[at[left] < len(self._numbers)]
            left = left[self._numbers[at[left]] == numbers[left]]
            there = self._places[at[left]]
            same = pc.equal(self._listed.paths_at(there), paths.take(pa.array(left))).to_numpy(zero_copy_only=False)
            places[left[same]] = there[same]
            left = left[~same]  # two paths of one number
            at[left] += 1
        return places


class Merged:
    """The files of `known` by their ids, as they are now, and after them those that are new.

    A file is known by its path, if size and times are those it had; else by its bytes, at that path, or at another if
    the known one is gone (where they cannot be read, by what `_LIKELY` says).
    `known` gives the files of earlier runs, schema FILES, a piece at a time, whenever it is
    called; `hashes` those of ids, `read` those of files by path and size, each None where there is none. Files that
    are gone are 'removed', unless their folder could not be listed. Holds some 20 bytes a file, and those that may
    have moved.
    """

    def __init__(
        self, known: Known, listed: ListedFiles, unreadable: Sequence[str], hashes: Hashes, read: Read
    ) -> None:
        self._known, self._listed, self._hashes = known, listed, hashes
        hidden = tuple(os.fsencode(folder) + b"/" for folder in unreadable)
        self._source, self._says, gone = self._looked_up(hidden)
        self._new = np.ones(len(listed), bool)
        self._new[self._source[self._source >= 0]] = False
        self._removed = np.zeros(len(self._source), bool)
        self._removed[gone["id"].to_numpy()] = True
        gone, there = self._may_have_moved(gone)
        self._proven, moved = self._recognized(gone, there, read)
        self._proven_ids = np.array(sorted(self._proven), np.int64)
        for id, place in moved.items():
            self._source[id], self._new[place], self._removed[id], self._says[id] = place, False, False, _OTHER

    def __len__(self) -> int:
        return len(self._source) + int(self._new.sum())

    @property
    def differs(self) -> bool:
        """Whether they are not those that are known."""
        return bool(self._new.any()) or any(before != after for before, after in self._pieces())

    def emptied(self) -> dict[int, int]:
        """How many files are gone that were there before, by roots under which nothing is left; not those left out."""
        gone = Counter[int]()
        there = {root for root, count in self._listed.roots if count}
        for before, after in self._pieces() if len(there) < len(self._listed.config.roots) else ():
            lost = after["removed"].to_numpy() & ~before["removed"].to_numpy() & ~after["left_out"].to_numpy()
            gone.update(after.filter(pa.array(lost))["root"].drop_null().to_pylist())
        return {root: count for root, count in sorted(gone.items()) if root not in there}

    def tables(self, chunk: int) -> Iterator[pa.Table]:
        """All of them, schema FILES, in tables of whole chunks of so many, but for the last."""
        return whole_chunks(chain((after for _, after in self._pieces()), self._added()), chunk)

    def _looked_up(self, hidden: tuple[bytes, ...]) -> tuple[Ints, npt.NDArray[np.int8], pa.Table]:
        """Of each known file its place in the listing, -1 where it has none, and what stamps say; and those gone."""
        places, telling = Places(self._listed), self._telling()
        sources, says, gone = [np.empty(0, np.int32)], [np.empty(0, np.int8)], [FILES.empty_table().select(_TOLD_BY)]
        first = 0
        for piece in self._known():
            place = places.of(piece["path_raw"].combine_chunks()).astype(id_dtype(len(self._listed)))
            missing = np.flatnonzero(place < 0)
            if hidden:
                paths = piece["path_raw"].take(pa.array(missing)).to_pylist()
                missing = missing[[not path.startswith(hidden) for path in paths]]
            lacking = piece.take(pa.array(missing)).select(_TOLD_BY)
            gone.append(lacking.set_column(0, FILES.field("id"), [first + missing]))
            sources.append(place)
            first += len(piece)
            says.append(self._by_stamps(piece, place, telling))
        return np.concatenate(sources), np.concatenate(says), pa.concat_tables(gone)

    def _telling(self) -> Ints:
        """The devices whose change times say more than the times of modification do."""
        columns = self._listed.columns
        tells = (columns["ctime_ns"] != columns["mtime_ns"]) & (columns["ctime_ns"] != 0)
        return values_in(columns["device"][tells])

    def _by_stamps(self, known: pa.Table, source: Ints, telling: Ints) -> npt.NDArray[np.int8]:
        """Whether the stamps of known files whose path is there still are those of the same file, or may be.

        A change time cannot be set, so it proves a file whatever its device and inode, which some file systems give
        anew each time; but not where it is only another name for the time of modification, as it is for all files of a
        device then, nor where it is 0.
        """
        ids = np.flatnonzero((source >= 0) & ~known["removed"].to_numpy())
        places = source[ids]

        def same(*names: str) -> Bools:
            agree = np.ones(len(ids), bool)
            for name in names:
                agree &= known[name].to_numpy()[ids] == self._listed.numbers(name, places)
            return agree

        alike = same("size_bytes", "mtime_ns")
        unchanged = alike & same("ctime_ns") & (self._listed.numbers("ctime_ns", places) != 0)
        sure = unchanged & same("device", "inode")
        trusted = unchanged & np.isin(self._listed.numbers("device", places), telling)
        says = np.full(len(source), _SAME, np.int8)
        says[ids] = np.select([sure, trusted, alike], [_SAME, _TRUSTED, _DOUBTFUL], _OTHER)
        return says

    def _may_have_moved(self, gone: pa.Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The files that are gone and the new ones among which one may be the other: of one size."""
        if not len(gone):
            return [], []
        sizes, places = gone["size_bytes"].to_numpy(), np.flatnonzero(self._new)
        places = places[np.isin(self._listed.numbers("size_bytes", places), sizes)]
        gone = gone.filter(pa.array(np.isin(sizes, self._listed.numbers("size_bytes", places))))
        return gone.to_pylist(), self._listed.at(places).select(_TOLD_BY).to_pylist()

    def _recognized(
        self, gone: list[dict[str, Any]], there: list[dict[str, Any]], read: Read
    ) -> tuple[dict[int, str], dict[int, int]]:
        """The hash by which a file is known to be the same, where its stamps do not say; and the places of those moved.

        By their ids.
        """
        doubtful = np.flatnonzero(self._says == _DOUBTFUL).tolist()
        asked = sorted({*doubtful, *(file["id"] for file in gone)})
        hash_of = {id: hash_ for id, hash_ in zip(asked, self._hashes(asked), strict=True) if hash_}
        gone = [file | {"hash": hash_of[file["id"]]} for file in gone if file["id"] in hash_of]
        sizes_gone = {file["size_bytes"] for file in gone}
        there = [file for file in there if file["size_bytes"] in sizes_gone]
        in_doubt = [id for id in doubtful if id in hash_of]
        places = np.array([*(file["id"] for file in there), *self._source[in_doubt].tolist()], np.int64)
        paths, sizes = self._listed.paths_at(places).to_pylist(), self._listed.numbers("size_bytes", places).tolist()
        found = dict(zip(places.tolist(), read(list(zip(paths, sizes, strict=True))), strict=True))
        moved = _assigned(gone, [file | {"hash": found[file["id"]]} for file in there])
        where = moved | {id: int(self._source[id]) for id in in_doubt}
        return {id: hash_of[id] for id, place in where.items() if found[place] == hash_of[id]}, moved

    def _pieces(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        """The known files as they were and as they are now, a piece at a time."""
        start = 0
        for piece in self._known():
            yield piece, self._as_it_is(piece, slice(start, start + len(piece)))
            start += len(piece)

    def _as_it_is(self, piece: pa.Table, here: slice) -> pa.Table:
        config, source = self._listed.config, self._source[here]
        there, ids = np.flatnonzero(source >= 0), np.arange(here.start, here.stop)
        rows = np.arange(len(piece))
        rows[there] = len(piece) + np.arange(len(there))
        table = pa.concat_tables([with_roots(piece, config), self._listed.at(source[there])]).take(pa.array(rows))
        removed = piece["removed"].to_numpy() | self._removed[here]
        removed[there] = False
        known = pc.if_else(pa.array(self._says[here] == _SAME), piece["known_hash"], None).to_pylist()
        trusted = ids[self._says[here] == _TRUSTED].tolist()
        for id, hash_ in zip(trusted, self._hashes(trusted), strict=True):
            known[id - here.start] = hash_
        for id in self._proven_ids[slice(*np.searchsorted(self._proven_ids, [here.start, here.stop]))].tolist():
            known[id - here.start] = self._proven[id]
        columns = {"id": ids, "removed": removed, "known_hash": pa.array(known, pa.string())}
        table = pa.table({name: columns.get(name, table[name]) for name in FILES.names}, schema=FILES)
        return with_left_out(table, config)

    def _added(self) -> Iterator[pa.Table]:
        """The files that are new, a piece at a time."""
        places = np.flatnonzero(self._new)
        for start in range(0, len(places), _AT_ONCE):
            table = self._listed.at(places[start : start + _AT_ONCE])
            yield table.set_column(0, FILES.field("id"), [len(self._source) + start + np.arange(len(table))])


def whole_chunks(tables: Iterable[pa.Table], chunk: int) -> Iterator[pa.Table]:
    """The rows of some tables in tables of whole chunks of so many, but for the last."""
    left: pa.Table | None = None
    for table in tables:
        table = table if left is None else pa.concat_tables([left, table])
        whole = len(table) // chunk * chunk
        left = table.slice(whole)
        if whole:
            yield table.slice(0, whole)
    if left is not None and len(left):
        yield left


def _numbers(paths: pa.Array) -> Ints:
    """A number of each path, int64 (n,), equal where that is; in this process alone."""
    return np.fromiter(map(hash, paths.to_pylist()), np.int64, len(paths))


def _assigned(gone: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Ids of files that are gone -> the new one of the same bytes: of several one of the same inode or name first.

    One that cannot be read (its hash is None) is taken for what was of its size and time, and of its inode or name.
    """
    found: dict[int, int] = {}
    taken = set[int]()
    for content, names in _ALIKE:
        rows = defaultdict[tuple[Any, ...], deque[int]](deque)
        for file in there:
            known_by = _PROOF if file["hash"] else _LIKELY if file["mtime_ns"] else None
            if file["id"] not in taken and known_by == content:
                rows[_key(file, content + names)].append(file["id"])
        for file in gone:
            places = rows[_key(file, content + names)]
            if file["id"] not in found and places:
                found[file["id"]] = places.popleft()
                taken.add(found[file["id"]])
    return found


def _key(file: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    named = file | {"name": os.path.basename(file["path_raw"])}
    return tuple(named[name] for name in names)
