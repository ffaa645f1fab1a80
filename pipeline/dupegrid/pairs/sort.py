"""Put like images beside like: levels.zarr -> sorted.zarr, the order and what the first filters need."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.arrays import Bools, Ints
from dupegrid.pairs.bounds import FIRST_LEVEL, Projection, levels, median_splits
from dupegrid.pairs.filters import Facts, Filters
from dupegrid.pairs.kernel import ORIENTATIONS
from dupegrid.store import Arrays, stored_fingerprint

SECOND_LEVEL: Final = 8
_CHUNK: Final = 8192


@dataclass(frozen=True)
class Order:
    """The sorted images: `starts` of the blocks in them, and the largest norm of a projection."""

    starts: Ints
    largest_norm: float


def sort_images(
    run_dir: Path,
    side: int,
    facts: Facts,
    filters: Filters,
    settled: Bools,
    orientations: tuple[str, ...],
    block: int,
    mark: str,
) -> Order:
    """Make sorted.zarr, unless it is there with this mark: of the live images first those that are not settled."""
    path, ids = run_dir / "sorted.zarr", facts.live
    if stored_fingerprint(path) != mark or not Arrays(path).is_whole():
        cells = Arrays(run_dir / "levels.zarr")
        keys = filters.keys(facts, ids)
        keys = keys + settled * (keys.max(initial=0) + 1)
        store, starts, largest = _write(path, cells, side, ids, keys, orientations, block)
        store.sign(mark, starts=starts.tolist(), largest_norm=largest)
    stored = Arrays(path)
    return Order(np.array(stored.fact("starts"), np.int64), float(stored.fact("largest_norm")))


def _write(
    path: Path, cells: Arrays, side: int, ids: Ints, keys: Ints, orientations: tuple[str, ...], block: int
) -> tuple[Arrays, Ints, float]:
    n, has_second = len(ids), SECOND_LEVEL in levels(side)
    with ThreadPoolExecutor(1) as beside:  # the second level is read and written beside what is done with the first
        reading = beside.submit(cells.rows, str(SECOND_LEVEL)) if has_second else None
        first = cells.rows(str(FIRST_LEVEL))
        first = first if n == len(first) else first[ids]
        projection = Projection.fit(first, side)
        points = projection(first, ORIENTATIONS[0])
        order, starts = median_splits(points, keys, block)
        shapes: dict[str, tuple[tuple[int, ...], npt.DTypeLike]]
        shapes = dict.fromkeys(orientations, (points.shape, points.dtype))
        shapes["order"] = ((n,), np.int64)
        if reading is not None:
            second = reading.result()
            shapes[str(SECOND_LEVEL)] = ((n, second.shape[1]), second.dtype)
        chunk = max(1, -(-n // max(1, -(-n // _CHUNK))))  # all alike, as the last one is written as long as the others
        store = Arrays.create(path, shapes, chunk)
        writing = None if reading is None else beside.submit(_write_sorted, store, second, ids[order], chunk)
        largest = 0.0
        for name in orientations:
            points = (points if name == ORIENTATIONS[0] else projection(first, name))[order]
            norms = np.einsum("nk,nk->n", points, points, dtype=np.float64)
            largest = max(largest, float(np.sqrt(norms.max(initial=0))))
            store.write(name, 0, points)
        store.write("order", 0, ids[order])
        if writing is not None:
            writing.result()
    return store, starts, largest


def _write_sorted(store: Arrays, second: npt.NDArray[np.generic], order: Ints, chunk: int) -> None:
    for start in range(0, len(order), chunk):
        store.write(str(SECOND_LEVEL), start, second[order[start : start + chunk]])
