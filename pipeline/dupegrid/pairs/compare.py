"""The compare stage: thumbs.zarr -> matches.parquet and tiles.zarr, tile by tile.

A tile is all pairs of two strips of images. Its matches are written first and its mark last, so a tile that is
marked needs nothing more; a block of the dask array is a few tiles of one strip, so that the strip is read once.
"""

from functools import partial
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
import numpy.typing as npt

from dupegrid.config import Config, fingerprint
from dupegrid.pairs.grid import Grid, default_side
from dupegrid.pairs.kernel import CHOICES, mse_block
from dupegrid.pairs.matches import part_path, sse_limit
from dupegrid.pairs.tile import COUNTS, Job, compare_tiles
from dupegrid.progress import Reporter
from dupegrid.records import discard_from
from dupegrid.runtime import Runtime
from dupegrid.store import Thumbs, Tiles, stored_fingerprint

_TILES_A_BLOCK: Final = 16


def compare(index_mark: str, config: Config, run_dir: Path, runtime: Runtime, reporter: Reporter) -> dict[str, int]:
    """Compare all pairs, going on where an earlier run stopped. Returns the receipt's counts, see COUNTS."""
    grid = _grid(run_dir, config)
    mark = _mark(index_mark, config, grid)
    tiles = _opened_or_new(run_dir, grid, mark)
    limit = sse_limit(config.cutoff, config.values_per_thumb)
    job = Job(run_dir, mark, grid, config.values_per_thumb, limit, CHOICES[config.orientations], _allowed_roots(config))
    done = _done(run_dir, tiles)
    pending = [(i, j) for i, j in grid.tiles().tolist() if (i, j) not in done]
    total = grid.images * (grid.images - 1) // 2
    todo = sum(grid.pairs(i, j) for i, j in pending)
    with reporter.stage("compare", total, "pairs", total - todo) as advance:
        if pending:
            runtime.compute(_blocks(pending, job), lambda block: advance(int(block.sum())))
    counts = sum((tiles.counts(i, j) for i, j in grid.tiles().tolist()), np.zeros(len(COUNTS), np.int64))
    return {"tiles": len(grid.tiles())} | dict(zip(COUNTS, counts.tolist(), strict=True))


def compare_progress(index_mark: str, config: Config, run_dir: Path) -> tuple[int, int]:
    """Tiles done and tiles in total, from the stores alone."""
    grid = _grid(run_dir, config)
    path = run_dir / "tiles.zarr"
    whole = stored_fingerprint(path) == _mark(index_mark, config, grid)
    return len(_done(run_dir, Tiles(path))) if whole else 0, len(grid.tiles())


def mse_matrix(thumbs: Thumbs, ok: npt.NDArray[np.bool_], orientations: tuple[str, ...]) -> da.Array:
    """The all-to-all MSE matrix, lazy: float64 (n, n); any window computes exactly. NaN where a file was not read."""
    images = thumbs.as_dask()
    readable = da.from_array(ok, chunks=images.chunks[0])
    block = partial(_masked_mse, orientations=orientations)
    return da.blockwise(
        block, "ij", images, "iabc", images, "jabc", readable, "i", readable, "j", dtype=np.float64, concatenate=True
    )


def _allowed_roots(config: Config) -> tuple[tuple[bool, ...], ...]:
    roots = range(len(config.paths) + len(config.against))
    first_of_b = len(config.paths)

    def allowed(r: int, s: int) -> bool:
        if config.against:
            return (r < first_of_b) != (s < first_of_b)
        return config.scope == "all" or (r == s) == (config.scope == "within")

    return tuple(tuple(allowed(r, s) for s in roots) for r in roots)


def _opened_or_new(run_dir: Path, grid: Grid, mark: str) -> Tiles:
    path = run_dir / "tiles.zarr"
    if stored_fingerprint(path) == mark:
        return Tiles(path)
    discard_from(run_dir, "compare")
    (run_dir / "matches.parquet").mkdir()
    return Tiles.create(path, grid.strips, len(COUNTS), mark)


def _grid(run_dir: Path, config: Config) -> Grid:
    images = len(Thumbs(run_dir / "thumbs.zarr"))
    return Grid(images, min(config.tile or default_side(config.values_per_thumb), max(1, images)))


def _mark(index_mark: str, config: Config, grid: Grid) -> str:
    return fingerprint(index_mark, config.cutoff, config.orientations, config.scope, len(config.against), grid.side)


def _done(run_dir: Path, tiles: Tiles) -> set[tuple[int, int]]:
    """The tiles that are marked and whose matches, if they have any, are there."""
    matches = COUNTS.index("matches")
    return {(i, j) for i, j in tiles.done() if tiles.counts(i, j)[matches] == 0 or part_path(run_dir, i, j).exists()}


def _blocks(pending: list[tuple[int, int]], job: Job) -> da.Array:
    """The pending tiles as a dask array of one column, blocked so that a block has tiles of one strip only."""
    strips = np.array([i for i, _ in pending])
    sizes = [
        len(run[k : k + _TILES_A_BLOCK])
        for run in np.split(strips, np.flatnonzero(np.diff(strips)) + 1)
        for k in range(0, len(run), _TILES_A_BLOCK)
    ]
    tiles = da.from_array(np.array(pending, np.int64), chunks=(tuple(sizes), 2))
    return tiles.map_blocks(
        compare_tiles, job, dtype=np.int64, chunks=(tuple(sizes), (1,)), meta=np.empty((0, 1), np.int64)
    )


def _masked_mse(a: Any, b: Any, a_ok: Any, b_ok: Any, orientations: tuple[str, ...]) -> Any:
    return np.where(a_ok[:, None] & b_ok[None, :], mse_block(a, b, orientations), np.nan)
