"""Matching pairs -> rows -> part files, and all of them back."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.arrays import Float64s, Ints
from dupegrid.pairs.kernel import ORIENTATIONS
from dupegrid.records import IMAGES, MATCHES, read_table, write_table

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

    def __init__(self, run_dir: Path, i: int, j: int, values: int, index_mark: str) -> None:
        self.rows = 0
        self._run_dir, self._tile = run_dir, (i, j)
        self._values, self._index_mark = values, index_mark
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
        paths = _paths(self._run_dir, self._index_mark)
        write_table(
            part_path(self._run_dir, *self._tile, self._parts),
            match_rows(a, b, sse, orientation, score, paths, self._values),
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


def write_collapsed(
    run_dir: Path, columns: tuple[Ints, Ints, Ints, Ints, Float64s], values: int, index_mark: str
) -> None:
    """Write the pairs of images with the representative of their identical thumbnails: columns as `match_rows` has.

    Without any it is an empty table, so that matches.parquet has its columns for every reader.
    """
    write_table(collapsed_path(run_dir), match_rows(*columns, _paths(run_dir, index_mark), values))


def collapsed_matches(run_dir: Path) -> int:
    """How many pairs of images with the representative of their identical thumbnails are listed."""
    return len(read_table(collapsed_path(run_dir), MATCHES, ["a"]))


def collapsed_path(run_dir: Path) -> Path:
    """Where the pairs of images with the representative of their identical thumbnails are."""
    return run_dir / "matches.parquet" / "part-identical.parquet"


def read_matches(run_dir: Path, columns: list[str] | None = None) -> pa.Table:
    """All matches so far, sorted by a and b. DamagedError if any column is damaged, asked for or not."""
    table = read_table(run_dir / "matches.parquet", MATCHES, columns, whole=True)
    return table.sort_by([("a", "ascending"), ("b", "ascending")])


@lru_cache(maxsize=2)
def _paths(run_dir: Path, _fingerprint: str) -> pa.ChunkedArray:
    return read_table(run_dir / "images.parquet", IMAGES, ["path"])["path"]
