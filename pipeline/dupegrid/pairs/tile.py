"""One tile by MSE: all pairs of two strips of sorted images, from their summaries to matches.

Blocks that no filter lets through or whose boxes are too far apart are skipped whole; the others are multiplied. What
passes goes through the finer levels, then integers decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.arrays import Bools, Float32s, Ints, Pixels
from dupegrid.pairs.bounds import (
    box_limit,
    boxes,
    cell_weights,
    heads,
    level_limit,
    level_sse,
    levels,
    point_gaps,
    radius,
    squared_gaps,
    turned_columns,
)
from dupegrid.pairs.filters import Facts, read_facts
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import ORIENTATIONS, candidates, exact_sse, inverse, left_operand, right_operand
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.sort import SECOND_LEVEL
from dupegrid.store import SUMS, Arrays, Thumbs

STRIPS_KEPT: Final = 3
_COLUMNS_AT_ONCE: Final = 8192  # of a product: its result stays in the cache
_PAIRS_AT_ONCE: Final = 1 << 18  # refined together; bounds the memory of a tile whatever it holds
_CELLS_AT_ONCE: Final = 1 << 19  # of cell sums that are compared: what comes of them stays in the cache
_IMAGES_AT_ONCE: Final = 8192  # pairs of thumbnails decided together: 200 MB of them at 64 pixels


@dataclass(frozen=True)
class Pairs:
    """Pairs of images under one orientation each: rows of the first strip, of the second, place in job.orientations."""

    x: Ints
    y: Ints
    turn: Ints

    def only(self, keep: Bools) -> "Pairs":
        """The pairs for which `keep` is true."""
        return Pairs(self.x[keep], self.y[keep], self.turn[keep])

    def unique(self) -> int:
        """How many different pairs of images these are."""
        if not len(self.x) or not self.turn.any():
            return len(self.x)
        return len(np.unique(self.x * (int(self.y.max()) + 1) + self.y))


@dataclass
class Strip:
    """Consecutive sorted images and their summaries; one entry an orientation in the lists."""

    ids: Ints
    starts: Ints  # of the blocks, and the end
    points: list[Float32s]
    cells: npt.NDArray[np.generic] | None  # of the second level
    lows: list[Float32s] = field(init=False)
    highs: list[Float32s] = field(init=False)
    heads: list[Float32s] = field(init=False)

    def __post_init__(self) -> None:
        self.heads = [heads(points) for points in self.points]
        corners = [boxes(points, self.starts[:-1]) for points in self.points]
        self.lows, self.highs = [low for low, _ in corners], [high for _, high in corners]


@lru_cache(maxsize=STRIPS_KEPT)
def read_strip(job: Job, number: int) -> Strip:
    """Load a strip from sorted.zarr; the last few are kept, as neighbouring tasks share them."""
    store, rows = _opened(job.run_dir / "sorted.zarr", job.sorted_mark), job.grid.rows(number)
    starts = np.array(store.fact("starts"), np.int64)
    inside = starts[(starts >= rows.start) & (starts < rows.stop)]
    return Strip(
        store.rows("order", rows),
        np.append(inside, rows.stop) - rows.start,
        [store.rows(name, rows) for name in job.orientations],
        store.rows(str(SECOND_LEVEL), rows) if SECOND_LEVEL in levels(job.side) else None,
    )


@lru_cache(maxsize=4)
def _opened(path: Path, _mark: str) -> Arrays:
    """Arrays that stay open from task to task."""
    return Arrays(path)


@lru_cache(maxsize=2)
def _opened_thumbs(path: Path, _mark: str) -> Thumbs:
    return Thumbs(path)


@lru_cache(maxsize=2)
def _sums(run_dir: Path, mark: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The checksums of thumbnails and of rows of the finest level, for those that are read alone."""
    thumbs, finest = _opened(run_dir / "levels.zarr", mark).rows(SUMS).T.copy()
    return thumbs, finest


def filter_tile(job: Job, first: Strip, second: Strip, tally: dict[str, int], writer: PartWriter) -> None:
    """Give the pairs at or under the limit to the writer, and count how all were decided."""
    for pairs in _batches(_multiplied(job, first, second, tally)):
        writer.add(*_refined(job, first, second, pairs, tally))


def _multiplied(job: Job, first: Strip, second: Strip, tally: dict[str, int]) -> Iterator[Pairs]:
    """What the boxes and the product of the first level let through, for each block of the first strip.

    A block is multiplied with the images whose own point is near its box, in blocks whose box is.
    """
    facts = read_facts(job.run_dir, job.index_mark)
    within = radius(job.limit, job.largest_norm)
    near_enough = box_limit(within, first.points[0].shape[1])
    left = left_operand(first.points[0])
    right = [right_operand(points) for points in second.points]
    for block, (start, stop) in enumerate(pairwise(first.starts)):
        skipped = block if second is first else 0
        begin, sizes = int(second.starts[skipped]), np.diff(second.starts[skipped:])
        stands_for = sizes * (stop - start)
        if second is first:
            stands_for[0] = sizes[0] * (sizes[0] - 1) // 2
        asked_for = _asked_for(job, facts, first, second, block, skipped, stands_for, tally)
        low, high = first.lows[0][block], first.highs[0][block]
        reached = np.zeros(len(second.ids) - begin, bool)
        found = []
        for turn, operand in enumerate(right):
            gaps = squared_gaps(low, high, second.lows[turn][skipped:], second.highs[turn][skipped:])
            columns = np.flatnonzero(np.repeat(asked_for & (gaps <= near_enough), sizes)) + begin
            columns = columns[point_gaps(low, high, second.heads[turn], columns) <= near_enough]
            reached[columns - begin] = True
            for cut in range(0, len(columns), _COLUMNS_AT_ONCE):
                here = columns[cut : cut + _COLUMNS_AT_ONCE]
                x, y = candidates(left[start:stop], operand.take(here, axis=0), within * within)
                found.append(Pairs(x + start, here[y], np.full(len(x), turn)))
        pairs = _joined(found)
        if second is first:  # an image is near the box of its own block, so all of that block is reached
            pairs = pairs.only(pairs.x < pairs.y)
            reached_pairs = int(reached[sizes[0] :].sum()) * (stop - start) + int(stands_for[0] * asked_for[0])
        else:
            reached_pairs = int(reached.sum()) * (stop - start)
        passed = pairs.unique()
        tally["box"] += int(stands_for[asked_for].sum()) - reached_pairs
        tally["level_4"] += reached_pairs - passed
        if job.filters.max_aspect is not None:
            pairs = pairs.only(job.filters.of_sizes(facts, first.ids[pairs.x], second.ids[pairs.y]))
            tally["filter"] += passed - pairs.unique()
        yield pairs


def _asked_for(
    job: Job,
    facts: Facts,
    first: Strip,
    second: Strip,
    block: int,
    skipped: int,
    stands_for: Ints,
    tally: dict[str, int],
) -> Bools:
    """Which blocks of the second strip the filters let through; a block has one root and one size where they matter."""
    if job.filters.none:
        return np.ones(len(stands_for), bool)
    firsts = second.ids[second.starts[skipped:-1]]
    one = np.full(len(firsts), first.ids[first.starts[block]])
    of_roots = job.filters.of_roots(facts, one, firsts)
    asked_for = of_roots & job.filters.of_sizes(facts, one, firsts) if job.filters.same_size else of_roots
    tally["other_group"] += int(stands_for[~of_roots].sum())
    tally["filter"] += int(stands_for[of_roots & ~asked_for].sum())
    return asked_for


def _batches(parts: Iterator[Pairs]) -> Iterator[Pairs]:
    """The same pairs, put together to batches worth refining; the pairs of a block stay together."""
    waiting: list[Pairs] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part.x)
        if count >= _PAIRS_AT_ONCE:
            yield _joined(waiting)
            waiting, count = [], 0
    if count:
        yield _joined(waiting)


def _joined(parts: list[Pairs]) -> Pairs:
    if not parts:
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, nothing)
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "turn")))


def _refined(
    job: Job, first: Strip, second: Strip, pairs: Pairs, tally: dict[str, int]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Through the finer levels and the integers: ids a < b, SSE and orientation of b (a number into ORIENTATIONS)."""
    for g in levels(job.side)[1:]:
        reached = pairs.unique()
        if g == SECOND_LEVEL:
            pairs = pairs.only(_within_second_level(job, first, second, pairs))
        else:
            pairs = pairs.only(_within_level(job, g, first.ids[pairs.x], second.ids[pairs.y], pairs.turn))
        tally[f"level_{g}"] += reached - pairs.unique()
    tally["exact"] += pairs.unique()
    return _decided(job, first.ids[pairs.x], second.ids[pairs.y], pairs.turn)


def _within_second_level(job: Job, first: Strip, second: Strip, pairs: Pairs) -> Bools:
    if first.cells is None or second.cells is None:
        return np.ones(len(pairs.x), bool)
    return _near(job, SECOND_LEVEL, first.cells, second.cells, pairs.x, pairs.y, pairs.turn)


def _within_level(job: Job, g: int, a: Ints, b: Ints, turn: Ints) -> Bools:
    """The same for a level that is not sorted with the images: only the rows that are needed are read."""
    ids, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    cells = _opened(job.run_dir / "levels.zarr", job.index_mark).take(
        str(g), ids, _sums(job.run_dir, job.index_mark)[1]
    )
    return _near(job, g, cells, cells, places[: len(a)], places[len(a) :], turn)


def _near(
    job: Job,
    g: int,
    first: npt.NDArray[np.generic],
    second: npt.NDArray[np.generic],
    x: Ints,
    y: Ints,
    turn: Ints,
) -> Bools:
    """Whether the bound of level g leaves each pair within the limit."""
    weights = cell_weights(job.side, g)
    limit, at_once = level_limit(job.limit, len(weights)), max(1, _CELLS_AT_ONCE // len(weights))
    keep = np.empty(len(x), bool)
    for number, name in enumerate(job.orientations):
        columns = None if name == ORIENTATIONS[0] else turned_columns(g, name)
        mine = np.flatnonzero(turn == number)
        for start in range(0, len(mine), at_once):
            part = mine[start : start + at_once]
            rows = second.take(y[part], axis=0)
            rows = rows if columns is None else rows.take(columns, axis=1)
            keep[part] = level_sse(first.take(x[part], axis=0), rows, weights) <= limit
    return keep


def _decided(job: Job, first: Ints, second: Ints, turn: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """In integers: the pairs (ids) at or under the limit, each once, with its least SSE and that orientation."""
    thumbs = _opened_thumbs(job.run_dir / "thumbs.zarr", job.index_mark)
    swapped = first > second
    # |x - R y| = |R^-1 x - y|: seen from the other side, the orientation is undone.
    straight = np.array([ORIENTATIONS.index(name) for name in job.orientations])
    undone = np.array([ORIENTATIONS.index(inverse(name)) for name in job.orientations])
    orientation = np.where(swapped, undone[turn], straight[turn])
    a, b = np.where(swapped, second, first), np.where(swapped, first, second)
    sse = np.empty(len(a), np.int64)
    sums = _sums(job.run_dir, job.index_mark)[0]
    for number in np.unique(orientation):
        mine = np.flatnonzero(orientation == number)
        mine = mine[np.lexsort((b[mine], a[mine]))]
        for start in range(0, len(mine), _IMAGES_AT_ONCE):
            part = mine[start : start + _IMAGES_AT_ONCE]
            ids, places = np.unique(np.concatenate([a[part], b[part]]), return_inverse=True)
            images = thumbs.take(ids, sums)
            sse[part] = _sse(images, places[: len(part)], places[len(part) :], ORIENTATIONS[number])
    keep = np.flatnonzero(sse <= job.limit)
    keep = keep[np.lexsort((orientation[keep], sse[keep], b[keep], a[keep]))]
    a, b, sse, orientation = a[keep], b[keep], sse[keep], orientation[keep]
    first_of_pair = np.ones(len(a), bool)
    first_of_pair[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return a[first_of_pair], b[first_of_pair], sse[first_of_pair], orientation[first_of_pair]


def _sse(images: Pixels, x: Ints, y: Ints, orientation: str) -> Ints:
    shape, flat = images.shape[1:], images.reshape(len(images), -1)
    columns = None if orientation == ORIENTATIONS[0] else turned_columns(images.shape[1], orientation)
    out = np.empty(len(x), np.int64)
    for start in range(0, len(x), 16):  # a few at a time stay in the cache
        part = slice(start, start + 16)
        second = flat.take(y[part], axis=0)
        if columns is not None:  # a turned view has its bytes in threes, and takes three times as long
            second = second.take(columns, axis=1)
        out[part] = exact_sse(flat.take(x[part], axis=0).reshape(-1, *shape), second.reshape(-1, *shape))
    return out
