"""Rows of a table by their numbers, of which only those in work are held: the images of a run by their ids, say."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupegrid.core.arrays import Ints, id_dtype
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.table_checks import check_clusters, check_ids, check_images
from dupegrid.storage.tables import group_rows, read_group


class Rows:
    """A table in pieces, of which one is read at a time: the row groups of a file, or a table as one piece."""

    def __init__(self, lengths: Sequence[int], read: Callable[[int, list[str]], pa.Table], schema: pa.Schema) -> None:
        """So many rows a piece; `read` gives columns of one by its number."""
        self.schema, self._starts, self._read = schema, np.cumsum([0, *lengths]), read

    @classmethod
    def of(cls, table: "pa.Table | Rows") -> "Rows":
        """The rows of a table, as one piece; or what is given, where that is in pieces."""
        if isinstance(table, Rows):
            return table
        return cls([len(table)], lambda _number, names: table.select(names), table.schema)

    @classmethod
    def stored(cls, run_dir: RunDir, roots: int) -> "Rows":
        """The images of a run of so many roots. DamagedError, also when they are read, for what no run would say."""
        lengths = group_rows(run_dir.images)
        return cls(lengths, partial(_images, run_dir, np.cumsum([0, *lengths]), roots), IMAGES)

    @classmethod
    def stored_clusters(cls, run_dir: RunDir, images: int) -> "Rows":
        """The rows of its clusters.parquet, which are of so many images. DamagedError likewise."""
        lengths, before = group_rows(run_dir.clusters), [-1]
        for piece in range(len(lengths)):
            number = _clusters(run_dir, images, before, piece, ["cluster"])["cluster"].to_numpy()
            before.append(int(number.max(initial=before[-1])))
        return cls(lengths, partial(_clusters, run_dir, images, before), CLUSTERS)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def each(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of all rows, a table for each piece."""
        return (self._read(number, list(names)) for number in range(len(self._starts) - 1))

    def made(self, names: Sequence[str], make: Callable[[pa.Table], Any], dtype: npt.DTypeLike) -> Any:
        """What a function makes of columns, an entry a row, piece by piece: (n,)."""
        found, start = np.empty(len(self), dtype), 0
        for part in self.each(names):
            found[start : start + len(part)] = make(part)
            start += len(part)
        return found

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Columns of all rows."""
        none = pa.schema([self.schema.field(name) for name in names]).empty_table()
        return pa.concat_tables([none, *self.each(names)])

    def parts(self, ids: Ints, names: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of some rows, ids (k,) ascending, in that order: a table for each piece that some are in."""
        for number, (start, stop) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            here = ids[slice(*np.searchsorted(ids, [start, stop]))]
            if len(here):
                yield self._read(number, list(names)).take(pa.array(here - start))

    def take(self, ids: Ints, names: Sequence[str]) -> pa.Table:
        """`parts` as one table."""
        none = pa.schema([self.schema.field(name) for name in names]).empty_table()
        return pa.concat_tables([*self.parts(ids, names)] or [none])

    def pick(self, ids: Ints, names: Sequence[str]) -> pa.Table:
        """Columns of some rows, ids (k,) in any order, in that order."""
        known, place = np.unique(ids, return_inverse=True)
        return self.take(known, names).take(pa.array(place))


def representatives(images: Rows) -> Ints:
    """By id the image that is compared in place of each one: its set's representative, or itself; narrow ids."""
    ids: Ints = np.arange(len(images), dtype=id_dtype(len(images)))
    first: Ints = images.made(["identical_to"], lambda part: part["identical_to"].fill_null(-1).to_numpy(), ids.dtype)
    return np.where(first >= 0, first, ids)


def _images(run_dir: RunDir, starts: Ints, roots: int, number: int, names: list[str]) -> pa.Table:
    table = read_group(run_dir.images, number, IMAGES, list(dict.fromkeys(("id", *names))))
    check_images(run_dir.images, table, int(starts[-1]), int(starts[number]))
    return check_ids(run_dir.images, table, sorted({"root"} & {*names}), roots).select(names)


def _clusters(run_dir: RunDir, images: int, before: Sequence[int], number: int, names: list[str]) -> pa.Table:
    """`before` is by piece the last number of those before it."""
    table = read_group(run_dir.clusters, number, CLUSTERS, names)
    return check_clusters(run_dir.clusters, table, images, before[number])
