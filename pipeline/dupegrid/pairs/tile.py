"""One tile: all pairs of two strips of images, from thumbnails to a part file of matches and a mark.

The matches are written first and the mark last, so a tile that is marked needs nothing more.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.pairs.grid import Grid
from dupegrid.pairs.kernel import best_orientation, candidates, centred, scaled_norms, turned
from dupegrid.pairs.matches import match_rows, write_part
from dupegrid.records import IMAGES, read_table
from dupegrid.store import Thumbs, Tiles

# How every pair of readable images was decided; these add up to all pairs. Then what was found.
DECIDED: Final = ("other_group", "identical", "bound", "exact")
COUNTS: Final = (*DECIDED, "matches")
_PAIRS_AT_ONCE: Final = 1024  # candidates decided together: bounds the memory of the exact step

Ints = npt.NDArray[np.int64]
Roots = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Job:
    """What a tile's task needs to know; small, as it travels to every worker."""

    run_dir: Path
    fingerprint: str
    grid: Grid
    values: int  # of a thumbnail: S * S * 3
    limit: int  # largest SSE kept
    orientations: tuple[str, ...]
    allowed: tuple[tuple[bool, ...], ...]  # allowed[r][s]: whether images of roots r and s are to be compared


@dataclass(frozen=True)
class Panel:
    """The images of a strip that are compared one by one: readable, and not stood for by another."""

    ids: Ints
    roots: Roots
    thumbs: npt.NDArray[np.uint8]


def compare_tiles(tiles: npt.NDArray[np.int64], job: Job) -> npt.NDArray[np.int64]:
    """Compare the pairs of some tiles of one strip: int64 (k, 2) -> how many pairs of files each tile has, (k, 1)."""
    if not len(tiles):  # dask asks for the shape of a block with an empty one
        return np.zeros((0, 1), np.int64)
    store, marks = Thumbs(job.run_dir / "thumbs.zarr"), Tiles(job.run_dir / "tiles.zarr")
    first = _panel(job, store, int(tiles[0, 0]))
    x = centred(first.thumbs)
    x_norms = scaled_norms(x)
    for i, j in tiles.tolist():
        second = first if i == j else _panel(job, store, j)
        a, b = _candidates(job, first, second, x, x_norms)
        if i == j:
            upper = a < b
            a, b = a[upper], b[upper]
        wanted = np.asarray(job.allowed)[first.roots[a], second.roots[b]]
        a, b = a[wanted], b[wanted]
        decided = len(a)
        matches = [
            _exact(job, first, second, a[k : k + _PAIRS_AT_ONCE], b[k : k + _PAIRS_AT_ONCE])
            for k in range(0, decided, _PAIRS_AT_ONCE)
        ]
        rows = _rows(job, [*matches, _collapsed(job, i, j)])
        write_part(job.run_dir, i, j, rows)
        marks.mark(i, j, _count(job, i, j, first, second, decided, len(rows)))
    return np.array([[job.grid.pairs(i, j)] for i, j in tiles.tolist()], np.int64)


def _candidates(job: Job, first: Panel, second: Panel, x: Any, x_norms: Any) -> tuple[Ints, Ints]:
    """Every pair (row of first, row of second) that some orientation may bring to the limit or under, once, sorted."""
    columns = len(second.ids)
    keys = []
    if (
        len(first.ids)
        and columns
        and np.asarray(job.allowed)[np.ix_(np.unique(first.roots), np.unique(second.roots))].any()
    ):
        for name in job.orientations:
            y = centred(turned(second.thumbs, name))
            a, b = candidates(x, y, x_norms, scaled_norms(y), job.limit)
            keys.append(a * columns + b)
    key = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.int64)
    return np.divmod(key, max(1, columns))


def _exact(job: Job, first: Panel, second: Panel, a: Ints, b: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The candidates at or under the limit, in integers: ids a, ids b, SSE, orientation."""
    sse, orientation = best_orientation(first.thumbs[a], second.thumbs[b], job.orientations)
    keep = sse <= job.limit
    return first.ids[a[keep]], second.ids[b[keep]], sse[keep], orientation[keep]


def _collapsed(job: Job, i: int, j: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The pairs of tile (i, j) that are an image and the representative of its set of identical thumbnails."""
    facts = _facts(job.run_dir, job.fingerprint)
    rows = job.grid.rows(j)
    b = np.flatnonzero(facts.identical_to[rows] >= 0) + rows.start
    a = facts.identical_to[b]
    here = (a // job.grid.side == i) & np.asarray(job.allowed)[facts.roots[a], facts.roots[b]]
    a, b = a[here], b[here]
    return a, b, np.zeros(len(a), np.int64), np.zeros(len(a), np.int64)


def _rows(job: Job, matches: list[tuple[Ints, Ints, Ints, Ints]]) -> pa.Table:
    a, b, sse, orientation = (np.concatenate(column) for column in zip(*matches, strict=True))
    paths = _paths(job.run_dir, job.fingerprint) if len(a) else pa.chunked_array([], pa.string())
    return match_rows(a, b, sse, orientation, paths, job.values)


def _count(job: Job, i: int, j: int, first: Panel, second: Panel, decided: int, matches: int) -> Ints:
    """The counts of a tile, in the order of COUNTS."""
    facts = _facts(job.run_dir, job.fingerprint)
    allowed = np.asarray(job.allowed, np.int64)

    def pairs(x: Roots, y: Roots, kinds: Ints) -> int:
        """How many pairs of images with these roots are of the root pairs in `kinds`."""
        counts_x = np.bincount(x, minlength=len(kinds))
        if i == j:
            return int(counts_x @ kinds @ counts_x - counts_x @ np.diag(kinds)) // 2
        return int(counts_x @ kinds @ np.bincount(y, minlength=len(kinds)))

    x, y = (facts.roots[job.grid.rows(k)][facts.ok[job.grid.rows(k)]] for k in (i, j))
    total = pairs(x, y, np.ones_like(allowed))
    asked_for = pairs(x, y, allowed)
    one_by_one = pairs(first.roots, second.roots, allowed)
    return np.array([total - asked_for, asked_for - one_by_one, one_by_one - decided, decided, matches], np.int64)


def _panel(job: Job, store: Thumbs, strip: int) -> Panel:
    rows = job.grid.rows(strip)
    facts = _facts(job.run_dir, job.fingerprint)
    live = np.flatnonzero(facts.ok[rows] & (facts.identical_to[rows] < 0))
    return Panel(live + rows.start, facts.roots[rows][live], store.rows(rows)[live])


@dataclass(frozen=True)
class _Facts:
    """What comparing needs of images.parquet, one entry a file."""

    ok: npt.NDArray[np.bool_]
    roots: Roots
    identical_to: Ints  # -1 where null


@lru_cache(maxsize=2)
def _facts(run_dir: Path, _fingerprint: str) -> _Facts:
    table = read_table(run_dir / "images.parquet", IMAGES, ["status", "root", "identical_to"])
    ok = pc.equal(table["status"], "ok").to_numpy()
    return _Facts(ok, table["root"].to_numpy(), table["identical_to"].fill_null(-1).to_numpy())


@lru_cache(maxsize=2)
def _paths(run_dir: Path, _fingerprint: str) -> pa.ChunkedArray:
    return read_table(run_dir / "images.parquet", IMAGES, ["path"])["path"]
