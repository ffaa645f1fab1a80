"""Matching pairs -> rows -> part files, and all of them back."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Float64s, Ints
from dupegrid.core.errors import DamagedError
from dupegrid.pairs.job import Job
from dupegrid.storage.ours import parts_in, remove
from dupegrid.storage.schemas import IMAGES, MATCHES
from dupegrid.storage.tables import check_ids, read_metadata, read_table, row_count, write_table

_KEY: Final = "comparison"  # whose part a file is
_ROWS_A_PART: Final = 1 << 18


def sse_limit(mse: float, values: int) -> int:
    """The largest SSE whose MSE, as float64 `sse / values`, is at or under `mse`."""
    limit = int(mse * values)
    while (limit + 1) / values <= mse:
        limit += 1
    while limit / values > mse:
        limit -= 1
    return limit


class PartWriter:
    """Collects the matches of one tile and writes them as part files, none of which grows without bound."""

    def __init__(self, job: Job, i: int, j: int) -> None:
        self.rows = 0
        self._job, self._tile = job, (i, j)
        self._values = job.side * job.side * CHANNELS
        self._waiting: list[tuple[Ints, Ints, Ints, Ints, Float64s]] = []
        self._waiting_rows = 0
        self._parts = 0

    def add(self, a: Ints, b: Ints, sse: Ints, orientation: Ints, score: Float64s | None = None) -> None:
        """Take matches: ids a < b, SSE, a number into ORIENTATIONS, a score where that is not the MSE; (k,) each."""
        if not len(a):
            return
        self._waiting.append((a, b, sse, orientation, sse / self._values if score is None else score))
        self._waiting_rows += len(a)
        self.rows += len(a)
        if self._waiting_rows >= _ROWS_A_PART:
            self._write()

    def close(self) -> int:
        """Write what is left; gives the number of part files, none for a tile without matches."""
        if self._waiting:
            self._write()
        return self._parts

    def _write(self) -> None:
        a, b, sse, orientation, score = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        paths = _paths(self._job.run_dir, self._job.index_mark)
        write_table(
            part_path(self._job.run_dir, *self._tile, self._parts),
            match_rows(a, b, sse, orientation, score, paths, self._values),
            {_KEY: self._job.key},
        )
        self._parts += 1
        self._waiting, self._waiting_rows = [], 0


def match_rows(
    a: Ints, b: Ints, sse: Ints, orientation: Ints, score: Float64s, paths: pa.ChunkedArray, values: int
) -> pa.Table:
    """The table of matching pairs (schema MATCHES), sorted by a and b; `values` is S * S * 3."""
    order = np.lexsort((b, a))
    a, b, sse = a[order], b[order], sse[order]
    columns = {
        "a": a,
        "b": b,
        "path_a": paths.take(a),
        "path_b": paths.take(b),
        "mse": sse / values,
        "sse": sse,
        "orientation": pa.array(ORIENTATIONS).take(orientation[order]),
        "score": score[order],
    }
    return pa.table(columns, schema=MATCHES)


def part_path(run_dir: Path, i: int, j: int, part: int) -> Path:
    """Where a part of the matches of tile (i, j) is."""
    return run_dir / "matches.parquet" / f"part-{i:05d}-{j:05d}-{part:03d}.parquet"


def write_collapsed(job: Job, columns: tuple[Ints, Ints, Ints, Ints, Float64s]) -> None:
    """Write the pairs of images with the representative of their identical thumbnails: columns as `match_rows` has.

    Without any it is an empty table, so that matches.parquet has its columns for every reader.
    """
    rows = match_rows(*columns, _paths(job.run_dir, job.index_mark), job.side * job.side * CHANNELS)
    write_table(collapsed_path(job.run_dir), rows, {_KEY: job.key})


def collapsed_matches(run_dir: Path) -> int:
    """How many pairs of images with the representative of their identical thumbnails are listed."""
    return len(read_table(collapsed_path(run_dir), MATCHES, ["a"]))


def collapsed_path(run_dir: Path) -> Path:
    """Where the pairs of images with the representative of their identical thumbnails are."""
    return run_dir / "matches.parquet" / "part-identical.parquet"


def is_part_of(path: Path, key: str) -> bool:
    """Whether a part file is there and of the comparison with this key."""
    return read_metadata(path).get(_KEY) == key


def remove_other_parts(run_dir: Path, key: str) -> None:
    """Remove the parts of other comparisons: a folder that was copied while it changed may hold some."""
    for path in parts_in(run_dir / "matches.parquet"):
        if path != settled_path(run_dir) and not is_part_of(path, key):
            remove(path)


def settled_path(run_dir: Path) -> Path:
    """Where the matches among settled images are."""
    return run_dir / "matches.parquet" / "part-settled.parquet"


def read_matches(run_dir: Path, key: str, columns: list[str] | None = None) -> pa.Table:
    """All matches so far of the comparison with this key, sorted by a and b.

    DamagedError if any column is damaged, asked for or not, or if a part is of another comparison.
    """
    for path in parts_in(run_dir / "matches.parquet"):
        if path != settled_path(run_dir) and not is_part_of(path, key):
            raise DamagedError(path, "it is of another comparison")
    table = read_table(run_dir / "matches.parquet", MATCHES, columns, whole=True)
    path = run_dir / "matches.parquet"
    check_ids(path, table, ("a", "b"), row_count(run_dir / "images.parquet"))
    return table.sort_by([("a", "ascending"), ("b", "ascending")])


@lru_cache(maxsize=2)
def _paths(run_dir: Path, _fingerprint: str) -> pa.ChunkedArray:
    return read_table(run_dir / "images.parquet", IMAGES, ["path"])["path"]
