"""Matches, some at a time, as often as somebody goes through them: however many there are, little memory is taken."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Bools, Float64s, Ints, id_dtype
from dupegrid.core.errors import DamagedError
from dupegrid.core.room import window_bytes
from dupegrid.pairs.matches import PATHS, ROWS_A_PART, other_parts, raw_paths, with_paths
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import MATCHES
from dupegrid.storage.table_checks import check_ids
from dupegrid.storage.tables import group_rows, parts_in, read_group, read_metadata

_COLUMNS: Final = ("a", "b", "mse", "orientation", "score")
_SORTED_ROW_BYTES: Final = 80  # of matches without their paths, narrow, twice while they are put together
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())  # few words for many rows: read in a ninth of the time of text


class Batch(NamedTuple):
    """Some matches, (k,) each: a < b, which may be int32; `turn` is a number into ORIENTATIONS, -1 where not known."""

    a: Ints
    b: Ints
    mse: Float64s
    score: Float64s
    turn: npt.NDArray[np.int8]

    def rows(self, which: Bools | Ints | slice) -> "Batch":
        """Those of some rows."""
        return Batch(self.a[which], self.b[which], self.mse[which], self.score[which], self.turn[which])


class Matches:
    """Matches in batches, in no order; so many bytes may be held at a time of what is made of them."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self._batches = batches

    @classmethod
    def of(cls, matches: "pa.Table | Matches") -> "Matches":
        """The same; or those of a table with the columns a, b, mse, orientation and score of schema MATCHES."""
        if isinstance(matches, Matches):
            return matches
        batch = _batch(matches)
        return cls(lambda: iter([batch]), window_bytes(None))

    def __iter__(self) -> Iterator[Batch]:
        return self._batches()

    def near(self, threshold: float) -> "Matches":
        """Those at or under a threshold."""
        return Matches(lambda: (batch.rows(batch.score <= threshold) for batch in self), self.window_bytes)

    def count(self) -> int:
        """How many they are."""
        return sum(len(batch.a) for batch in self)

    def first(self, most: int) -> Batch:
        """Those with the lowest scores, then ids, in that order: at most so many."""
        found = _in_order(())
        for batch in self:
            if len(found.a) == most:
                batch = batch.rows(batch.score <= found.score[-1:].max(initial=-np.inf))
            found = _in_order([found, batch]).rows(slice(most))
        return found

    def scores(self) -> Float64s:
        """The scores of all, ascending: 8 bytes a match."""
        found, start = np.empty(self.count()), 0
        for batch in self:
            found[start : start + len(batch.score)] = batch.score
            start += len(batch.score)
        found.sort()
        return found

    def at(self, places: Ints, scores: Float64s) -> Batch:
        """Those at some places in the order of score, a and b; `scores` are all. All of these scores are held."""
        wanted = scores[places]
        known = np.append(np.unique(wanted), np.inf)
        rows = _in_order(it.rows(known.take(np.searchsorted(known, it.score), mode="clip") == it.score) for it in self)
        return rows.rows(np.searchsorted(rows.score, wanted) + places - np.searchsorted(scores, wanted))


class SortedMatches:
    """The rows of matches.parquet by a and b, some at a time, as often as somebody goes through them.

    They are kept where they fit a window, else read once for each window of them.
    """

    def __init__(self, run_dir: RunDir, key: str, schema: pa.Schema, memory_bytes: int | None) -> None:
        """Those so far of the comparison with this key; errors and `memory_bytes` as in `stored_matches`."""
        self.schema = schema
        self._run_dir, self._most = run_dir, max(1, window_bytes(memory_bytes) // _SORTED_ROW_BYTES)
        self._groups = match_groups(run_dir, key)
        self._ends = np.zeros(run_dir.listed(), np.int64)
        kinds = {field.name: _WORDS if pa.types.is_string(field.type) else field.type for field in schema}
        kinds |= dict.fromkeys(("a", "b"), pa.from_numpy_dtype(id_dtype(len(self._ends))))
        self._narrow = pa.schema(kinds)
        self._kept, rows = list[pa.Table](), 0
        names = [name for name in schema.names if name[:-2] not in PATHS]
        for table in read_groups(self._groups, self._narrow, names, len(self._ends), whole=True):
            ids, counts = np.unique(table["a"].to_numpy(), return_counts=True)
            self._ends[ids] += counts
            self._kept.append(table)
            rows += len(table)
            if rows > self._most:
                self._kept.clear()
        np.cumsum(self._ends, out=self._ends)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def each(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of them, one table after the other. DamagedError where they are not those that were counted."""
        wanted = pa.schema([self.schema.field(name) for name in names])
        paths = raw_paths(self._run_dir) if any(name[:-2] in PATHS for name in names) else None
        columns = list(dict.fromkeys(["a", "b", *(name for name in names if name[:-2] not in PATHS)]))
        first, before = 0, 0
        while before < len(self):
            last = max(first + 1, int(np.searchsorted(self._ends, before + self._most, side="right")))
            here = (pc.field("a") >= first) & (pc.field("a") < last)
            parts = self._kept or read_groups(self._groups, self._narrow, columns, len(self._ends))
            rows = pa.concat_tables(part.select(columns).filter(here) for part in parts)
            rows = rows.unify_dictionaries().combine_chunks()
            if len(rows) != self._ends[last - 1] - before:
                raise DamagedError(self._run_dir.matches, "it was changed while it was read")
            order = np.argsort(rows["a"].to_numpy().astype(np.int64) * len(self._ends) + rows["b"].to_numpy())
            for start in range(0, len(rows), ROWS_A_PART):
                some = rows.take(order[start : start + ROWS_A_PART])
                yield some.select(names).cast(wanted) if paths is None else with_paths(some, paths, wanted)
            del rows, order  # before the next window is read
            first, before = last, int(self._ends[last - 1])


def read_matches(run_dir: RunDir, key: str, schema: pa.Schema = MATCHES, columns: list[str] | None = None) -> pa.Table:
    """All matches so far of the comparison with this key, as one table sorted by a and b.

    Errors are those of `stored_matches`. Paths are those of images.parquet: nothing but the result has them in memory.
    """
    names = schema.names if columns is None else columns
    nothing = pa.schema(map(schema.field, names)).empty_table()
    return pa.concat_tables([nothing, *SortedMatches(run_dir, key, schema, None).each(names)])


def stored_matches(run_dir: RunDir, key: str, schema: pa.Schema, memory_bytes: int | None) -> tuple[Matches, int]:
    """All matches so far of the comparison with this key, and how many they are; they are kept where they fit a window.

    `memory_bytes` is the setting that this goes by. They are read once now. DamagedError if any column is damaged, or
    if a part is of another comparison; later too, when a part is not what it was.
    """
    groups = match_groups(run_dir, key)
    most_bytes, images = window_bytes(memory_bytes), run_dir.listed()
    facts = {path: read_metadata(path) for path, _ in groups}
    kept, counts, size_bytes = list[Batch](), list[int](), 0

    def again() -> Iterator[Batch]:
        batches = _read(groups, schema, images)
        for (path, _), count, batch in zip(groups, counts, batches, strict=True):
            if len(batch.a) != count or read_metadata(path) != facts[path]:
                raise DamagedError(path, "it was changed while it was read")
            yield batch

    for batch in _read(groups, schema, images, whole=True):
        counts.append(len(batch.a))
        size_bytes += sum(column.nbytes for column in batch)
        kept.append(batch)
        if size_bytes > most_bytes:
            kept.clear()
    return Matches(again if size_bytes > most_bytes else kept.__iter__, most_bytes), sum(counts)


def of_pairs(matches: Matches, x: Ints, y: Ints, images: int) -> tuple[Float64s, Float64s, npt.NDArray[np.int8]]:
    """What the matches say of some pairs, ids (k,) each of so many images: their MSE, score and `turn`.

    Infinite and -1 where a pair is not listed. It takes the less time the fewer different y there are.
    """
    keys, place = np.unique(np.minimum(x, y).astype(np.int64) * images + np.maximum(x, y), return_inverse=True)
    mse, score = np.full((2, len(keys)), np.inf)
    turn = np.full(len(keys), -1, np.int8)
    is_end = np.zeros(images, bool)
    is_end[y] = True
    for batch in matches if len(keys) else ():
        some = batch.rows(np.flatnonzero(is_end[batch.a] | is_end[batch.b]))
        key = some.a.astype(np.int64) * images + some.b
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        listed = keys[at] == key
        at = at[listed]
        mse[at], score[at], turn[at] = some.mse[listed], some.score[listed], some.turn[listed]
    return mse[place], score[place], turn[place]


def match_groups(run_dir: RunDir, key: str) -> list[tuple[Path, int]]:
    """The row groups with the matches so far of the comparison with this key, by file and number there.

    DamagedError if a part is of another comparison.
    """
    for path in other_parts(run_dir, key, run_dir.tiles_keys()[0]):
        raise DamagedError(path, "it is of another comparison, or another part of it")
    return [(path, number) for path in parts_in(run_dir.matches) for number in range(len(group_rows(path)))]


def _read(groups: Sequence[tuple[Path, int]], schema: pa.Schema, images: int, whole: bool = False) -> Iterator[Batch]:
    """Row groups of files as batches."""
    tables = read_groups(groups, schema, _COLUMNS, images, whole)
    return (_batch(table, id_dtype(images)) for table in tables)


def read_groups(
    groups: Sequence[tuple[Path, int]], schema: pa.Schema, names: Sequence[str], images: int, whole: bool = False
) -> Iterator[pa.Table]:
    """Columns of row groups, in threads; with `whole` the others are read too, so that damage in them shows."""

    def read(group: tuple[Path, int]) -> pa.Table:
        table = read_group(*group, schema, names, whole)
        check_ids(group[0], table, ("a", "b"), images)
        if any(table[name].null_count for name in {"a", "b", "mse", "score"}.intersection(names)):
            raise DamagedError(group[0], "it has rows without an image or a score")
        return table

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(groups), threads):  # map alone would read on while nobody takes what is read
            yield from pool.map(read, groups[start : start + threads])


def _in_order(batches: Iterable[Batch]) -> Batch:
    """All rows of some batches by score, a and b."""
    nothing = Batch._make(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64, np.float64, np.int8))
    found = Batch._make(map(np.concatenate, zip(nothing, *batches, strict=True)))
    return found.rows(np.lexsort((found.b, found.a, found.score)))


def _batch(table: pa.Table, ids: npt.DTypeLike = np.int64) -> Batch:
    a, b = (table[name].to_numpy().astype(ids, copy=False) for name in ("a", "b"))
    mse, score = table["mse"].to_numpy(), table["score"].to_numpy()
    turn = pc.index_in(table["orientation"], pa.array(ORIENTATIONS)).fill_null(-1).to_numpy().astype(np.int8)
    return Batch(a, b, mse, mse if np.array_equal(mse, score) else score, turn)
