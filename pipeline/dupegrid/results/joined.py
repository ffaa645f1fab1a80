"""The tables of a run with columns of the others joined, in batches; and one of them as a lazy dask dataframe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.results.schemas import SCORES
from dupegrid.storage.bucket import BucketPath, file_system

TABLES: Final = ("images", "matches", "clusters")
_ROWS_A_BATCH: Final = 1 << 16


class Tables(Protocol):
    """What exports read of a run: tables of schema IMAGES, MATCHES and CLUSTERS, or with more columns."""

    @property
    def images(self) -> pa.Table: ...

    @property
    def matches(self) -> pa.Table: ...

    @property
    def clusters(self) -> pa.Table: ...

    def scores(self, *names: str) -> pa.Table: ...


class _Source(NamedTuple):
    """A table whose columns may be asked for, under names with a prefix or a suffix."""

    prefix: str
    suffix: str
    table: pa.Table
    rows: pa.ChunkedArray | None  # which of its rows, for each row that is given; all where none are said

    def column(self, name: str) -> "_Column | None":
        """The column that is meant by a name."""
        inner = name.removeprefix(self.prefix).removesuffix(self.suffix)
        is_meant = name == f"{self.prefix}{inner}{self.suffix}" and inner in self.table.column_names
        return _Column(name, self.table[inner], self.rows) if is_meant else None


class _Scores(NamedTuple):
    """Second scores of matches, reckoned where they are asked for."""

    tables: Tables

    def column(self, name: str) -> "_Column | None":
        known = name in SCORES.names[2:]
        return _Column(name, self.tables.scores(name)[name], None) if known else None


class _Column(NamedTuple):
    name: str
    values: pa.ChunkedArray
    rows: pa.ChunkedArray | None


@dataclass(frozen=True)
class Selection:
    """Columns of a table of a run and of what is joined to it."""

    columns: list[_Column]
    length: int

    def __len__(self) -> int:
        return self.length

    @property
    def schema(self) -> pa.Schema:
        """The names and types of the columns."""
        return pa.schema([(column.name, column.values.type) for column in self.columns])

    def batches(self) -> Iterator[pa.Table]:
        """All rows, some at a time; no batch where there are none."""
        for start in range(0, self.length, _ROWS_A_BATCH):
            yield self._part(start, _ROWS_A_BATCH)

    def whole(self) -> pa.Table:
        """All rows at once."""
        return self._part(0, self.length)

    def _part(self, start: int, length: int) -> pa.Table:
        taken = [
            values.slice(start, length) if rows is None else values.take(rows.slice(start, length))
            for _, values, rows in self.columns
        ]
        return pa.table(taken, schema=self.schema)


def selected(name: str, columns: Sequence[str] | None, tables: Tables) -> Selection:
    """Columns of the table `name` by their names, its own unless others are named.

    To matches are joined those of both images (`width_a`, `camera_b`) and second scores (`ssim`), to clusters those of
    the image (`width`) and of its keeper (`keeper_width`), to images those of clusters and of the keeper. UsageError
    for one that is not there.
    """
    own: pa.Table = getattr(tables, name)
    sources = _sources(name, tables)
    known = [next(sources)]
    found = []
    for wanted in own.column_names if columns is None else columns:
        column = next(filter(None, (source.column(wanted) for source in known)), None)
        while column is None and (source := next(sources, None)):
            known.append(source)
            column = source.column(wanted)
        if column is None:
            raise UsageError(f"no column {printable(wanted)!r} for {name}: {_hint(name, own)}")
        found.append(column)
    if len({column.name for column in found}) < len(found):
        raise UsageError(f"a column is named twice in {', '.join(map(printable, columns or ()))}: name each once")
    return Selection(found, len(own))


def _sources(name: str, tables: Tables) -> Iterator[_Source | _Scores]:
    """Where columns for a table may be from, its own first: others are loaded only if asked for."""
    own = getattr(tables, name)
    yield _Source("", "", own, None)
    if name == "matches":
        yield _Source("", "_a", tables.images, own["a"])
        yield _Source("", "_b", tables.images, own["b"])
        yield _Scores(tables)
    elif name == "clusters":
        yield _Source("", "", tables.images, own["image"])
        yield _Source("keeper_", "", tables.images, own["keeper"])
    else:
        clusters = tables.clusters
        row = np.full(len(own), -1)
        row[clusters["image"].to_numpy()] = np.arange(len(clusters))
        rows = pa.chunked_array([pa.array(row, mask=row < 0)])
        yield _Source("", "", clusters, rows)
        yield _Source("keeper_", "", own, clusters["keeper"].take(rows))


def _hint(name: str, own: pa.Table) -> str:
    joined = {
        "matches": "those of images with _a or _b, such as width_a, and second scores, ssim and shifted_mse",
        "clusters": "those of images, such as width or keeper_width",
        "images": "those of clusters, such as role, and keeper_path",
    }
    return f"there are {', '.join(own.column_names)}, and {joined[name]}"


def lazy_frame(path: Path) -> Any:
    """A table on disk or in a bucket as a lazy dask dataframe. UsageError without pandas."""
    try:
        import dask.dataframe as dd
    except ImportError:
        raise UsageError("a dask dataframe needs pandas: pip install 'dupegrid[notebooks]'") from None
    if isinstance(path, BucketPath):
        return dd.read_parquet(str(path), filesystem=file_system(path.bucket.partition(":")[0]))
    return dd.read_parquet(path)
