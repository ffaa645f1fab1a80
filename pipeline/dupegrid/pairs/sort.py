"""Put like images beside like: levels.zarr -> sorted.zarr, the order and what the first filters need."""

import hashlib
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
    cell_dtype,
    first_level,
    levels,
    row_checks,
    second_level,
)
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.bounds import COMPONENTS, Projection, median_splits
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.storage.arrays import Arrays, stored_key
from dupegrid.storage.run_dir import RunDir

ORDER: Final = "order"  # in sorted.zarr: of each image its id and the `row_checks`, all as int64
_CHUNK: Final = 8192
_SAMPLE: Final = 512


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
    ids = read_facts(run_dir).live
    coarse = _coarse(run_dir, ids)
    first = first_level(coarse, side)
    projection = Projection.fit(first, side)
    points = projection(first, ORIENTATIONS[0])
    order, starts = median_splits(points, groups, block)
    chunks = max(1, -(-len(ids) // _CHUNK))
    chunk = max(1, -(-len(ids) // chunks))  # all alike, as the last one is written as long as the others
    store = Arrays.create(run_dir.sorted_zarr, sorted_shapes(len(ids), side, orientations), chunk)
    largest = 0.0
    for name in orientations:
        points = (points if name == ORIENTATIONS[0] else projection(first, name))[order]
        norms = np.einsum("nk,nk->n", points, points, dtype=np.float64)
        largest = max(largest, float(np.sqrt(norms.max(initial=0))))
        store.write(name, 0, points)
    store.write(ORDER, 0, np.column_stack([ids, row_checks(coarse).view(np.int64)])[order])
    if (second := second_level(coarse, side)) is not None:
        for start in range(0, len(order), chunk):
            store.write(str(SECOND_LEVEL), start, second[order[start : start + chunk]])
    digest = hashlib.blake2b(ids[order].tobytes() + starts.tobytes(), digest_size=12).hexdigest()
    store.sign(made_from, starts=starts.tolist(), largest_norm=largest, order=digest, chunks=_checksums(store))
    return store


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


def _coarse(run_dir: RunDir, ids: Ints) -> Cells:
    """The rows of `COARSE` of some images."""
    rows = run_dir.levels().rows(COARSE)
    return rows if len(ids) == len(rows) else rows[ids]
