"""Put like images beside like: levels.zarr -> sorted.zarr, the order and what the first filters need."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Float32s, Ints
from dupegrid.core.errors import StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.loops import HEADS
from dupegrid.images.levels import COSINES, Checks, bytes_of, prefixes, row_checks
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.bounds import median_splits
from dupegrid.pairs.canonical import make_canonical
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.storage.arrays import Arrays, Shapes
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.run_dir import RunDir

ORDER: Final = "order"  # in sorted.zarr: of each image its id, how it was turned and its `row_checks`, all as int64
_BOXES: Final = "boxes"  # a fact of it: by chunk the least and the largest of the first cosines of its images
_CHUNK: Final = 8192
_SAMPLE: Final = 512
_SLAB: Final = 1 << 14  # rows read at a time by a thread: 6 MB
_THREADS: Final = 4  # at most, so that what they hold stays little
WINDOW_BYTES: Final = 1 << 29  # held at a time: those of a million images, and all are read once for each

Rows = dict[str, npt.NDArray[Any]]  # of sorted.zarr, by array
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Order:
    """The sorted images: `starts` of the blocks in them, and the first cosines of some.

    `key` is equal for equal orders of the same. `lows` and `highs`, float32 (chunks, K), are the corners of boxes
    around the first cosines of every `chunk` images.
    """

    key: str
    starts: Ints
    sample: Float32s
    chunk: int
    lows: Float32s
    highs: Float32s

    def near_share(self, within: float) -> float:
        """Which share of the pairs of the sample are within a distance of each other."""
        right = right_operand(self.sample)
        x, y = candidates(left_operand(right), right, within * within)
        return float(np.count_nonzero(x < y)) / max(1, len(right) * (len(right) - 1) // 2)


def sorted_shapes(images: int, side: int) -> Shapes:
    """The arrays of sorted.zarr."""
    return {COSINES: ((images, prefixes(side)[-1]), np.int16), ORDER: ((images, 3), np.int64)}


def sort_images(
    run_dir: RunDir, side: int, groups: Ints, orientations: tuple[str, ...], block: int, images_key: str
) -> Order:
    """Make sorted.zarr of the live images, unless it is there: those of a lower group first, none in a block of two.

    `groups` is int64 (live images,).
    """
    made_from = fingerprint(images_key, orientations, block, _BOXES, hashlib.blake2b(groups.tobytes()).hexdigest())
    images = len(groups)
    if stored_facts(run_dir.sorted_zarr).get("key") != made_from or not _is_as_signed(run_dir, images, side, block):
        _make(run_dir, side, groups, orientations, block, made_from)
    stored, first = run_dir.order(), prefixes(side)[0]
    sample = run_dir.once("sample", lambda: stored.take(COSINES, np.arange(images)[_sampled(images)]))
    corners = np.array(stored.fact(_BOXES), np.float32).reshape(-1, 2, first)
    starts, key = np.array(stored.fact("starts"), np.int64), fingerprint(made_from, stored.fact("order"))
    return Order(key, starts, sample[:, :first].astype(np.float32), stored.chunk(COSINES), corners[:, 0], corners[:, 1])


def _sampled(images: int) -> slice:
    """Which of so many sorted images are in the sample."""
    return slice(None, None, max(1, images // _SAMPLE))


def _make(run_dir: RunDir, side: int, groups: Ints, orientations: tuple[str, ...], block: int, made_from: str) -> None:
    """Make sorted.zarr anew; it and its sample are then opened, the sample where it need not be read.

    A window of images is read at a time: once for the order and once to write them, or once where they are one. So
    some 90 bytes an image are held, and one window, however many images there are.
    """
    ids, shapes = read_facts(run_dir).live, sorted_shapes(len(groups), side)
    chunks = max(1, -(-len(ids) // _CHUNK))
    chunk = max(1, -(-len(ids) // chunks))  # all alike, as the last one is written as long as the others
    store = Arrays.create(run_dir.sorted_zarr, shapes, chunk)
    window = max(1, WINDOW_BYTES // bytes_of(sorted_shapes(1, side)) // chunk) * chunk
    places = np.arange(len(ids))
    windows = [slice(start, start + window) for start in range(0, len(ids), window)]
    read = partial(_rows, run_dir.levels(), ids, side, orientations)
    rows = read(places) if len(windows) == 1 else None
    points = [(rows or read(places[some]))[COSINES][:, :HEADS].copy() for some in windows]
    order, starts = median_splits(np.concatenate(points or [np.empty((0, HEADS), np.int16)]), groups, block)
    corners: list[list[list[int]]] = []
    for some in windows:
        here = places if rows else np.sort(order[some])
        row_of = order if rows else np.searchsorted(here, order[some])
        corners += _write(store, some.start, rows or read(here), row_of, prefixes(side)[0])
    digest = hashlib.blake2b(ids[order].tobytes() + starts.tobytes(), digest_size=12).hexdigest()
    store.sign(made_from, starts=starts.tolist(), order=digest, chunks=_checksums(store), boxes=corners)
    run_dir.renew(order=store, **({"sample": rows[COSINES][order[_sampled(len(ids))]]} if rows else {}))


def _rows(levels: Arrays, ids: Ints, side: int, orientations: tuple[str, ...], places: Ints) -> Rows:
    """The rows of sorted.zarr of the images at some places in `ids`, (n,) and (k,) ascending: read by threads."""
    out: Rows = {name: np.empty(shape, dtype) for name, (shape, dtype) in sorted_shapes(len(places), side).items()}

    def put(cut: tuple[int, int]) -> None:
        first, last = np.searchsorted(places, cut).tolist()
        if first == last:
            return
        mine = ids[places[first:last]]
        rows = levels.rows(COSINES, slice(int(mine[0]), int(mine[-1]) + 1))
        rows = rows if len(rows) == len(mine) else rows[mine - mine[0]]
        cosines = rows[:, : prefixes(side)[-1]]
        home = make_canonical(cosines, side, orientations)
        out[COSINES][first:last] = cosines
        out[ORDER][first:last] = np.column_stack([mine, home, row_checks(rows).view(np.int64)])

    _in_threads(put, pairwise(np.flatnonzero(np.diff(ids // _SLAB, prepend=-1, append=-1)).tolist()))
    return out


def _write(store: Arrays, start: int, rows: Rows, order: Ints, columns: int) -> list[list[list[int]]]:
    """Write rows in an order, int64 (k,), from row `start` of the store on.

    Returns of each chunk the least and the largest of the first cosines, so many columns.
    """
    chunk = store.chunk(ORDER)

    def write(begin: int) -> list[list[int]]:
        some = order[begin : begin + chunk]
        here = {name: array.take(some, axis=0) for name, array in rows.items()}
        for name, values in here.items():
            store.write(name, start + begin, values)
        first = here[COSINES][:, :columns]
        return [first.min(axis=0).tolist(), first.max(axis=0).tolist()]

    return _in_threads(write, range(0, len(order), chunk))


def _in_threads(work: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """What some work with each item gives; what it writes goes to the hold of this thread only (hold.py)."""
    with_contexts = [(copy_context(), item) for item in items]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda one: one[0].run(work, one[1]), with_contexts))


def _checksums(store: Arrays) -> str:
    return fingerprint([store[name].checksums() for name in store.names])


def _is_as_signed(run_dir: RunDir, images: int, side: int, block: int) -> bool:
    """Whether all chunks are there, and are those that were there when the arrays were finished.

    And whether its blocks are all of it and its boxes are boxes: pairs are left out, and loops write, by what they say.
    A stranger may have signed others: pairs of images in no block would be lost.
    """
    try:
        store = run_dir.order()
        store.check(sorted_shapes(images, side))
        if not store.is_whole() or store.fact("chunks") != _checksums(store) or len(store) != images:
            return False
        starts, corners = np.array(store.fact("starts"), np.int64), np.array(store.fact(_BOXES), np.int16)
        corners = corners.reshape(-(-len(store) // store.chunk(COSINES)), 2, prefixes(side)[0])
    except (StoreError, KeyError, TypeError, ValueError, OverflowError):
        return False
    if starts.ndim != 1 or np.append(starts, len(store))[0] != 0:
        return False
    sizes = np.diff(starts, append=len(store))
    return bool(((sizes > 0) & (sizes <= block)).all() and (corners[:, 0] <= corners[:, 1]).all())


def checks(run_dir: RunDir) -> Checks:
    """The checksums of thumbnails, by which those that are read alone are checked.

    uint64 (n,), by id; 0 for images that are not compared.
    """

    def read() -> Checks:
        stored, images = run_dir.order(), len(run_dir.thumbs())
        by_id, rows = np.zeros(images, np.uint64), stored.rows(ORDER)
        by_id[rows[:, 0]] = rows[:, 2].view(np.uint64)
        return by_id

    return run_dir.once("checks", read)
