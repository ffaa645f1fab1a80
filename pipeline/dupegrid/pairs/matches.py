"""The matches of a tile: rows, and the part file that holds them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupegrid.pairs.kernel import ORIENTATIONS
from dupegrid.records import MATCHES, read_table, write_table

Ints = npt.NDArray[np.int64]


def sse_limit(mse: float, values: int) -> int:
    """The largest SSE whose MSE, as float64 `sse / values`, is at or under `mse`."""
    limit = int(mse * values)
    while (limit + 1) / values <= mse:
        limit += 1
    while limit / values > mse:
        limit -= 1
    return limit


def match_rows(a: Ints, b: Ints, sse: Ints, orientation: Ints, paths: pa.ChunkedArray, values: int) -> pa.Table:
    """The table of matching pairs (schema MATCHES), sorted by a and b.

    `a`, `b`, `sse` and `orientation` (a number into ORIENTATIONS) have one entry a pair; `values` is S * S * 3.
    """
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
    }
    return pa.table(columns, schema=MATCHES)


def part_path(run_dir: Path, i: int, j: int) -> Path:
    """Where the matches of tile (i, j) are."""
    return run_dir / "matches.parquet" / f"part-{i:05d}-{j:05d}.parquet"


def write_part(run_dir: Path, i: int, j: int, rows: pa.Table) -> None:
    """Write the matches of a tile, whole or not at all; a tile without matches has no file."""
    if len(rows):
        write_table(part_path(run_dir, i, j), rows)


def read_matches(run_dir: Path, columns: list[str] | None = None) -> pa.Table:
    """All matches so far, sorted by a and b."""
    table = read_table(run_dir / "matches.parquet", MATCHES, columns)
    return table.sort_by([("a", "ascending"), ("b", "ascending")])
