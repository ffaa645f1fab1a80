"""The tables of a run with columns of the others joined, in batches; and one of them as a lazy dask dataframe."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.pairs.batches import SortedMatches
from dupegrid.results.rows import Rows
from dupegrid.results.run_like import RunLike
from dupegrid.results.schemas import SCORES
from dupegrid.results.scores import OF_SCORES, second_scores
from dupegrid.results.stored import clusters_of, images_of, matches_of
from dupegrid.storage.bucket import BucketPath, file_system

TABLES: Final = ("images", "matches", "clusters")
KEYS: Final = ("id", "a", "b", "image")  # columns that tell the rows of a table apart
_ROWS_A_BATCH: Final = 1 << 16


Each = Rows | SortedMatches  # a table that is gone through some rows at a time


class RunTables:
    """The tables of a run as exports read them, by their names in TABLES; matches are read once."""

    def __init__(self, run: RunLike) -> None:
        self._run = run

    @property
    def images(self) -> Rows:
        return images_of(self._run)

    @property
    def clusters(self) -> Rows:
        return clusters_of(self._run)

    @cached_property
    def matches(self) -> SortedMatches:
        return matches_of(self._run)

    def scores_of(self, matches: pa.Table, name: str) -> pa.Table:
        return second_scores(self._run.run_dir, matches, self._run.config.looks, [name])


class _Column(NamedTuple):
    field: pa.Field
    needs: tuple[str, ...]  # columns of the table whose rows are given
    of: Callable[[pa.Table], pa.ChunkedArray]  # some rows of that, with these columns -> the values


@dataclass(frozen=True)
class Selection:
    """Columns of a table of a run and of what is joined to it."""

    columns: list[_Column]
    table: Each

    def __len__(self) -> int:
        return len(self.table)

    @property
    def schema(self) -> pa.Schema:
        """The names and types of the columns."""
        return pa.schema([column.field for column in self.columns])

    def batches(self) -> Iterator[pa.Table]:
        """All rows, some at a time; no batch where there are none."""
        needed = list(dict.fromkeys(name for column in self.columns for name in column.needs))
        for rows in _even(self.table.each(needed)):
            yield pa.table([column.of(rows) for column in self.columns], schema=self.schema)

    def whole(self) -> pa.Table:
        """All rows at once."""
        return pa.concat_tables([self.schema.empty_table(), *self.batches()])


def _even(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of some tables in tables of one length, but for the last."""
    rest: pa.Table | None = None
    for table in tables:
        rest = table if rest is None else pa.concat_tables([rest, table])
        while len(rest) >= _ROWS_A_BATCH:
            yield rest.slice(0, _ROWS_A_BATCH).combine_chunks()  # of a piece without rows pyarrow's CSV has zeros
            rest = rest.slice(_ROWS_A_BATCH)
    if rest is not None and len(rest):
        yield rest.combine_chunks()


def selected(name: str, columns: Sequence[str] | None, tables: RunTables) -> Selection:
    """Columns of the table `name` by their names, its own unless others are named.

    To matches are joined those of both images (`width_a`, `camera_b`) and second scores (`ssim`), to clusters those of
    the image (`width`) and of its keeper (`keeper_width`), to images those of clusters and of the keeper. UsageError
    for one that is not there.
    """
    own: Each = getattr(tables, name)
    found = []
    for wanted in own.schema.names if columns is None else columns:
        if wanted in own.schema.names:
            column: _Column | None = _Column(own.schema.field(wanted), (wanted,), itemgetter(wanted))
        else:
            column = _joined(name, wanted, tables)
        if column is None:
            raise UsageError(f"no column {printable(wanted)!r} for {name}: {_hint(name, own.schema)}")
        found.append(column)
    if len({column.field.name for column in found}) < len(found):
        raise UsageError(f"a column is named twice in {', '.join(map(printable, columns or ()))}: name each once")
    return Selection(found, own)


def _joined(name: str, wanted: str, tables: RunTables) -> _Column | None:
    """A column that is joined to the table `name`, if there is such; what it is of is loaded only now."""
    if wanted in SCORES.names[2:] and name == "matches":
        needs = tuple(column for column in tables.matches.schema.names if column in OF_SCORES)
        return _Column(SCORES.field(wanted), needs, lambda rows: tables.scores_of(rows, wanted)[wanted])
    if name == "matches":
        inner, _, side = wanted.rpartition("_")
        return _of(tables.images, inner, wanted, side) if side in ("a", "b") else None
    inner = wanted.removeprefix("keeper_")
    is_of_keeper = inner != wanted
    if name == "clusters":
        return _of(tables.images, inner, wanted, "keeper" if is_of_keeper else "image")
    row, keeper = _in_clusters(tables)
    if is_of_keeper:
        return _of(tables.images, inner, wanted, "id", keeper)
    return _of(tables.clusters, wanted, wanted, "id", row)


def _in_clusters(tables: RunTables) -> tuple[Ints, Ints]:
    """By image its row of clusters, and the one to keep; -1 for none: int64 (n,) each."""
    (row, keeper), first = np.full((2, len(tables.images)), -1), 0
    for part in tables.clusters.each(["image", "keeper"]):
        image = part["image"].to_numpy()
        row[image], keeper[image] = np.arange(first, first + len(part)), part["keeper"].to_numpy()
        first += len(part)
    return row, keeper


def _of(table: Each, inner: str, name: str, key: str, row_of: Ints | None = None) -> _Column | None:
    """The column `inner` of a table, held whole, under a name: of the image that the column `key` names.

    `row_of` says by image which row of the table is its, -1 for none; None where it has the number of the image.
    """
    if inner not in table.schema.names:
        return None
    kind = table.schema.field(inner).type
    pieces = [chunk for part in table.each([inner]) for chunk in part[inner].chunks]
    values = pa.chunked_array(pieces, kind).combine_chunks()
    if row_of is not None:
        values = values.take(pa.array(row_of, mask=row_of < 0))
    return _Column(pa.field(name, kind), (key,), lambda rows: values.take(rows[key]))


def _hint(name: str, own: pa.Schema) -> str:
    joined = {
        "matches": "those of images with _a or _b, such as width_a, and second scores, ssim and shifted_mse",
        "clusters": "those of images, such as width or keeper_width",
        "images": "those of clusters, such as role, and keeper_path",
    }
    return f"there are {', '.join(own.names)}, and {joined[name]}"


def lazy_frame(path: Path) -> Any:
    """A table on disk or in a bucket as a lazy dask dataframe. UsageError without pandas."""
    try:
        import dask.dataframe as dd
    except ImportError:
        raise UsageError("a dask dataframe needs pandas: pip install 'dupegrid[notebooks]'") from None
    if isinstance(path, BucketPath):
        return dd.read_parquet(str(path), filesystem=file_system(path.bucket.partition(":")[0]))
    return dd.read_parquet(path)
