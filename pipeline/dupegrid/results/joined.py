"""The tables of a run with columns of the others joined, in batches; and one of them as a lazy dask dataframe."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.results.rows import Rows
from dupegrid.results.schemas import SCORES
from dupegrid.storage.bucket import BucketPath, file_system

TABLES: Final = ("images", "matches", "clusters")
_ROWS_A_BATCH: Final = 1 << 16
_OF_SCORES: Final = ("a", "b", "orientation", "look_a", "look_b")  # what second scores are reckoned by


class Each(Protocol):
    """A table that is gone through some rows at a time: `Rows`, `SortedMatches`."""

    schema: pa.Schema

    def __len__(self) -> int: ...

    def each(self, names: Sequence[str]) -> Iterator[pa.Table]: ...


class Tables(Protocol):
    """What exports read of a run: tables of schema IMAGES, MATCHES and CLUSTERS, or with more columns."""

    @property
    def images(self) -> pa.Table | Each: ...

    @property
    def matches(self) -> pa.Table | Each: ...

    @property
    def clusters(self) -> pa.Table | Each: ...

    def scores_of(self, matches: pa.Table, name: str) -> pa.Table:
        """A row a match, of some of them: a second score."""


class _Source(NamedTuple):
    """A table whose columns may be asked for, under names with a prefix or a suffix."""

    prefix: str
    suffix: str
    table: Each
    key: str  # the column that says which of its rows, for each row that is given
    row_of: Ints | None = None  # by what stands in that column; -1 for none

    def column(self, name: str) -> "_Column | None":
        """The column that is meant by a name, which is held whole."""
        inner = name.removeprefix(self.prefix).removesuffix(self.suffix)
        if name != f"{self.prefix}{inner}{self.suffix}" or inner not in self.table.schema.names:
            return None
        pieces = [chunk for part in self.table.each([inner]) for chunk in part[inner].chunks]
        kind = self.table.schema.field(inner).type
        return _Column(
            pa.field(name, kind), (self.key,), partial(self._taken, pa.chunked_array(pieces, kind).combine_chunks())
        )

    def _taken(self, values: pa.Array, rows: pa.Table) -> pa.Array:
        if self.row_of is None:
            return values.take(rows[self.key])
        row = self.row_of[rows[self.key].to_numpy()]
        return values.take(pa.array(row, mask=row < 0))


class _Own(NamedTuple):
    """The table whose rows are given."""

    table: Each

    def column(self, name: str) -> "_Column | None":
        if name not in self.table.schema.names:
            return None
        return _Column(self.table.schema.field(name), (name,), lambda rows: rows[name])


class _Scores(NamedTuple):
    """Second scores of matches, reckoned where they are asked for."""

    tables: Tables
    needs: tuple[str, ...]

    def column(self, name: str) -> "_Column | None":
        if name not in SCORES.names[2:]:
            return None
        return _Column(SCORES.field(name), self.needs, lambda rows: self.tables.scores_of(rows, name)[name])


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
    """The same rows in tables of one length, but for the last."""
    rest: pa.Table | None = None
    for table in tables:
        rest = table if rest is None else pa.concat_tables([rest, table])
        while len(rest) >= _ROWS_A_BATCH:
            yield rest.slice(0, _ROWS_A_BATCH).combine_chunks()  # of a piece without rows pyarrow's CSV has zeros
            rest = rest.slice(_ROWS_A_BATCH)
    if rest is not None and len(rest):
        yield rest.combine_chunks()


def selected(name: str, columns: Sequence[str] | None, tables: Tables) -> Selection:
    """Columns of the table `name` by their names, its own unless others are named.

    To matches are joined those of both images (`width_a`, `camera_b`) and second scores (`ssim`), to clusters those of
    the image (`width`) and of its keeper (`keeper_width`), to images those of clusters and of the keeper. UsageError
    for one that is not there.
    """
    own = table_of(tables, name)
    sources = _sources(name, own, tables)
    known = [next(sources)]
    found = []
    for wanted in own.schema.names if columns is None else columns:
        column = next(filter(None, (source.column(wanted) for source in known)), None)
        while column is None and (source := next(sources, None)):
            known.append(source)
            column = source.column(wanted)
        if column is None:
            raise UsageError(f"no column {printable(wanted)!r} for {name}: {_hint(name, own.schema)}")
        found.append(column)
    if len({column.field.name for column in found}) < len(found):
        raise UsageError(f"a column is named twice in {', '.join(map(printable, columns or ()))}: name each once")
    return Selection(found, own)


def table_of(tables: Tables, name: str) -> Each:
    """One of the tables, by its name."""
    table: pa.Table | Each = getattr(tables, name)
    return Rows.of(table) if isinstance(table, pa.Table) else table


def _sources(name: str, own: Each, tables: Tables) -> Iterator[_Own | _Source | _Scores]:
    """Where columns for a table may be from, its own first: others are loaded only if asked for."""
    yield _Own(own)
    if name == "matches":
        images = table_of(tables, "images")
        yield _Source("", "_a", images, "a")
        yield _Source("", "_b", images, "b")
        yield _Scores(tables, tuple(column for column in own.schema.names if column in _OF_SCORES))
    elif name == "clusters":
        images = table_of(tables, "images")
        yield _Source("", "", images, "image")
        yield _Source("keeper_", "", images, "keeper")
    else:
        clusters, start = table_of(tables, "clusters"), 0
        row, keeper = np.full((2, len(own)), -1)
        for part in clusters.each(["image", "keeper"]):
            image = part["image"].to_numpy()
            row[image], keeper[image] = np.arange(start, start + len(part)), part["keeper"].to_numpy()
            start += len(part)
        yield _Source("", "", clusters, "id", row)
        yield _Source("keeper_", "", own, "id", keeper)


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
