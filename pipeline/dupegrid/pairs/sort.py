"""Put like images beside like: levels.zarr -> sorted.zarr, the order and what the first filters need."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Float32s, Ints
from dupegrid.core.keys import fingerprint
from dupegrid.images.levels import (
    COARSE,
    SECOND_LEVEL,
    Cells,
    Checks,
    Shapes,
    bytes_of,
    cell_dtype,
    first_level,
    levels,
    row_checks,
    second_level,
)
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.bounds import COMPONENTS, HEADS, Projection, heads, median_splits
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.storage.arrays import Arrays, stored_key
from dupegrid.storage.run_dir import RunDir

ORDER: Final = "order"  # in sorted.zarr: of each image its id and the `row_checks`, all as int64
_CHUNK: Final = 8192
_SAMPLE: Final = 512
_FITTED_TO: Final = 5_000  # images that components are found by, at least, where there are so many
_SLAB: Final = 1 << 16  # images read at a time: 25 MB
WINDOW_BYTES: Final = 1 << 29  # written at a time: those of a million images, and all are read once for each


@dataclass(frozen=True)
class Order:
    """The sorted images: `starts` of the blocks in them, the largest norm of a projection, and some projections.

    `key` is equal for equal orders of the same: on another machine, whose arithmetic rounds otherwise, near images may
    change places.
    """

    key: str
    starts: Ints
    largest_norm: float
    sample: Float32s

    def near_share(self, within: float) -> float:
        """Which share of the pairs of the sample are within a distance of each other."""
        right = right_operand(self.sample)
        x, y = candidates(left_operand(right), right, within * within)
        return float(np.count_nonzero(x < y)) / max(1, len(right) * (len(right) - 1) // 2)


def sorted_shapes(images: int, side: int, orientations: tuple[str, ...]) -> Shapes:
    """The arrays of sorted.zarr."""
    shapes: Shapes = dict.fromkeys(orientations, ((images, COMPONENTS), np.float32))
    shapes[ORDER] = ((images, 3), np.int64)
    if SECOND_LEVEL in levels(side):
        shapes[str(SECOND_LEVEL)] = ((images, SECOND_LEVEL**2 * CHANNELS), cell_dtype(side, SECOND_LEVEL))
    return shapes


def sort_images(
    run_dir: RunDir,
    side: int,
    groups: Ints,
    orientations: tuple[str, ...],
    block: int,
    images_key: str,
) -> Order:
    """Make sorted.zarr of the live images, unless it is there: those of a lower group first, none in a block of two.

    `groups` is int64 (live images,).
    """
    made_from = fingerprint(images_key, orientations, block, hashlib.blake2b(groups.tobytes()).hexdigest())
    ids = read_facts(run_dir).live
    if stored_key(run_dir.sorted_zarr) != made_from or not _is_as_signed(run_dir.order()):
        run_dir.renew(order=_written(run_dir, side, groups, orientations, block, made_from))
    stored = run_dir.order()
    sample = stored.take(ORIENTATIONS[0], np.arange(0, len(ids), max(1, len(ids) // _SAMPLE)))
    starts, largest = np.array(stored.fact("starts"), np.int64), float(stored.fact("largest_norm"))
    return Order(fingerprint(made_from, stored.fact("order")), starts, largest, sample)


def _written(
    run_dir: RunDir, side: int, groups: Ints, orientations: tuple[str, ...], block: int, made_from: str
) -> Arrays:
    """A slab of images is read at a time: once for the order, then once for each window of it.

    So some 250 bytes an image are held, and one window, however many images there are.
    """
    ids = read_facts(run_dir).live
    sample = run_dir.levels().take(COARSE, ids[:: max(1, len(ids) // _FITTED_TO)])
    projection, slabs = Projection.fit(first_level(sample, side), side), _Slabs(run_dir, ids)
    order, starts = median_splits(_heads(slabs, projection), groups, block)
    chunks = max(1, -(-len(ids) // _CHUNK))
    chunk = max(1, -(-len(ids) // chunks))  # all alike, as the last one is written as long as the others
    shapes, largest = sorted_shapes(len(ids), side, orientations), 0.0
    store = Arrays.create(run_dir.sorted_zarr, shapes, chunk)
    window = max(1, WINDOW_BYTES // bytes_of(sorted_shapes(1, side, orientations)) // chunk) * chunk
    for start in range(0, len(order), window):
        largest = max(largest, _write_window(store, start, slabs, order[start : start + window], projection))
    digest = hashlib.blake2b(ids[order].tobytes() + starts.tobytes(), digest_size=12).hexdigest()
    store.sign(made_from, starts=starts.tolist(), largest_norm=largest, order=digest, chunks=_checksums(store))
    return store


class _Slabs:
    """The rows of `COARSE` of some images, ids (n,) ascending, a slab at a time; the last one read is kept."""

    def __init__(self, run_dir: RunDir, ids: Ints) -> None:
        self.ids, self._levels, self._last = ids, run_dir.levels(), (-1, np.empty(0))

    def __iter__(self) -> Iterator[tuple[int, Cells]]:
        for start in range(0, len(self.ids), _SLAB):
            if self._last[0] != start:
                ids = self.ids[start : start + _SLAB]
                rows = self._levels.rows(COARSE, slice(int(ids[0]), int(ids[-1]) + 1))
                self._last = start, rows if len(rows) == len(ids) else rows[ids - ids[0]]
            yield self._last


def _heads(slabs: _Slabs, projection: Projection) -> Float32s:
    """The `heads` of all images, float32 (8, n)."""
    out = np.empty((HEADS, len(slabs.ids)), np.float32)
    for start, rows in slabs:
        out[:, start : start + len(rows)] = heads(projection(first_level(rows, projection.side), ORIENTATIONS[0]))
    return out


def _write_window(store: Arrays, start: int, slabs: _Slabs, places: Ints, projection: Projection) -> float:
    """Write the rows of the images at these places in `ids`, int64 (k,), in that order from row `start` on.

    Returns the largest norm of a point.
    """
    shapes = sorted_shapes(len(places), projection.side, tuple(set(store.names) & set(ORIENTATIONS)))
    out = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    ascending = np.argsort(places, kind="stable")
    sorted_places, largest = places[ascending], 0.0
    for first_place, rows in slabs:
        first, last = np.searchsorted(sorted_places, [first_place, first_place + len(rows)]).tolist()
        to, some = ascending[first:last], sorted_places[first:last]
        coarse = rows if len(some) == len(rows) else rows[some - first_place]
        first_sums, second = first_level(coarse, projection.side), second_level(coarse, projection.side)
        for name, array in out.items():
            if name == ORDER:
                array[to] = np.column_stack([slabs.ids[some], row_checks(coarse).view(np.int64)])
            elif name == str(SECOND_LEVEL):
                array[to] = second
            else:
                points = array[to] = projection(first_sums, name)
                norms = np.einsum("nk,nk->n", points, points, dtype=np.float64)
                largest = max(largest, float(np.sqrt(norms.max(initial=0))))
    for name, array in out.items():
        store.write(name, start, array)
    return largest


def _checksums(store: Arrays) -> str:
    return fingerprint([store.checksums(name) for name in store.names])


def _is_as_signed(store: Arrays) -> bool:
    """Whether all chunks are there, and are those that were there when the arrays were finished."""
    return store.is_whole() and store.fact("chunks") == _checksums(store)


def checks(run_dir: RunDir) -> Checks:
    """The checksums of thumbnails and of rows of the finest level, by which what is read alone is checked.

    uint64 (2, n), by id; 0 for images that are not compared.
    """

    def read() -> Checks:
        stored, images = run_dir.order(), len(run_dir.thumbs())
        by_id, rows = np.zeros((2, images), np.uint64), stored.rows(ORDER)
        by_id[:, rows[:, 0]] = rows[:, 1:].T.view(np.uint64)
        return by_id

    return run_dir.once("checks", read)
