"""One tile by MSE: all pairs of two strips of sorted images, from their summaries to matches.

Blocks that no filter lets through or whose boxes are too far apart are skipped whole; the others are multiplied. What
passes goes through the finer levels, then integers decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import ORIENTATIONS, Bools, Float32s, Ints, inverse
from dupegrid.images.levels import FINE, SECOND_LEVEL, cell_weights, levels, turned_columns
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.bounds import box_limit, boxes, heads, level_limit, level_sse, point_gaps, radius, squared_gaps
from dupegrid.pairs.exact import crowd_distances, distances
from dupegrid.pairs.hashes import asked_by_hash, numbers_of, partners
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.sort import ORDER, checks

_BLOCKS_AT_ONCE: Final = 32  # found near before any is multiplied: what finds them stays in the cache
_COLUMNS_AT_ONCE: Final = 4096  # multiplied with a block: bounds the memory of a tile whatever it holds
_PAIRS_AT_ONCE: Final = 1 << 18  # worth refining together
_PAIRS_AT_MOST: Final = 1 << 19  # refined together: some 100 MB
_CELLS_AT_ONCE: Final = 1 << 19  # of cell sums that are compared: what comes of them stays in the cache


@dataclass(frozen=True)
class Pairs:
    """Pairs of images under one orientation each: rows of the first strip, of the second, place in job.orientations."""

    x: Ints
    y: Ints
    turn: Ints

    def only(self, keep: Bools | Ints) -> "Pairs":
        """The pairs for which `keep` is true, or those at the places it names."""
        return Pairs(self.x[keep], self.y[keep], self.turn[keep])

    def unique(self) -> int:
        """How many different pairs of images these are."""
        if not len(self.x) or not self.turn.any():
            return len(self.x)
        keys = np.sort(self.x * (int(self.y.max()) + 1) + self.y)  # 6 million in 0.06 s; np.unique hashes: 5 s
        return 1 + int(np.count_nonzero(keys[1:] != keys[:-1]))


@dataclass
class Strip:
    """Consecutive sorted images and their summaries; one entry an orientation in the lists."""

    ids: Ints
    starts: Ints  # of the blocks, and the end
    operands: list[Float32s]  # of the products
    cells: npt.NDArray[np.generic] | None  # of the second level; none where thumbnails have no finer one
    lows: list[Float32s] = field(init=False)
    highs: list[Float32s] = field(init=False)
    heads: list[Float32s] = field(init=False)

    def __post_init__(self) -> None:
        points = [operand[:, :-2] for operand in self.operands]
        self.heads = [heads(some) for some in points]
        corners = [boxes(some, self.starts[:-1]) for some in points]
        self.lows, self.highs = [low for low, _ in corners], [high for _, high in corners]


def read_strip(job: Job, number: int) -> Strip:
    """A strip from sorted.zarr; the last few are kept, as neighbouring tasks share them."""
    return job.run_dir.once(("strip", number), lambda: _read_strip(job, number), job.strips_kept)


def _read_strip(job: Job, number: int) -> Strip:
    store, rows = job.run_dir.order(), job.grid.rows(number)
    starts = np.array(store.fact("starts"), np.int64)
    inside = starts[(starts >= rows.start) & (starts < rows.stop)]
    ids, second = store.rows(ORDER, rows)[:, 0].copy(), str(SECOND_LEVEL)
    cells = store.rows(second, rows) if second in store else None
    operands = [right_operand(store.rows(name, rows)) for name in job.orientations]
    return Strip(ids, np.append(inside, rows.stop) - rows.start, operands, cells)


def filter_tile(job: Job, first: Strip, second: Strip, tally: dict[str, int], writer: PartWriter) -> None:
    """Give the pairs at or under the limit to the writer, and count how all were decided."""
    for pairs in _batches(_multiplied(job, first, second, tally)):
        writer.add(*_refined(job, first, second, pairs, tally))


def _multiplied(job: Job, first: Strip, second: Strip, tally: dict[str, int]) -> Iterator[Pairs]:
    """What the boxes and the product of the first level let through, for each block of the first strip."""
    facts, within = read_facts(job.run_dir), radius(job.limit, job.largest_norm)
    reached = _reached(job, first, second, within, tally)
    while blocks := list(islice(reached, _BLOCKS_AT_ONCE)):
        for start, stop, near in blocks:
            left, found = left_operand(first.operands[0][start:stop]), []
            for turn, columns in enumerate(near):
                x, y = candidates(left, second.operands[turn].take(columns, axis=0), within * within)
                found.append(Pairs(x + start, columns[y], np.full(len(x), turn)))
            pairs = _joined(found)
            if second is first:
                pairs = pairs.only(pairs.x < pairs.y)
            if job.filters.same_hash != "any":  # they were counted before
                pairs = pairs.only(asked_by_hash(job.run_dir, job.filters, first.ids[pairs.x], second.ids[pairs.y]))
            passed = pairs.unique()
            tally["level_4"] -= passed
            if job.filters.max_aspect is not None:
                pairs = pairs.only(job.filters.of_sizes(facts, first.ids[pairs.x], second.ids[pairs.y]))
                tally["filter"] += passed - pairs.unique()
            yield pairs


def _reached(
    job: Job, first: Strip, second: Strip, within: float, tally: dict[str, int]
) -> Iterator[tuple[int, int, list[Ints]]]:
    """Blocks of the first strip, start and stop, and the images of the second that are near them, by orientation.

    A block is multiplied with the images whose own point is near its box, in blocks whose box is. A block that reaches
    many comes in several parts.
    """
    near_enough = box_limit(within, first.lows[0].shape[1])
    numbers = numbers_of(job.run_dir, job.filters, first.ids, second.ids)
    for block, (start, stop) in enumerate(pairwise(first.starts)):
        skipped = block if second is first else 0  # the blocks before it were there already
        begin, sizes = int(second.starts[skipped]), np.diff(second.starts[skipped:])
        stands_for = sizes * (stop - start)
        if second is first:
            stands_for[0] = sizes[0] * (sizes[0] - 1) // 2
        asked_for = _asked_for(job, first, second, block, stands_for, tally)
        with_it = None  # how many pairs of the block each image is in, where not all are asked for
        if numbers is not None:
            with_it = partners(job.filters, numbers[0][start:stop], numbers[1][begin:], second is first)
            asked = np.add.reduceat(with_it, second.starts[skipped:-1] - begin)
            asked[0] //= 1 + (second is first)  # each pair of a block with itself is there twice
            tally["filter"] += int((stands_for - asked)[asked_for].sum())
            stands_for = asked
        low, high = first.lows[0][block], first.highs[0][block]
        reached = np.zeros(len(second.ids) - begin, bool)
        near = []
        for turn in range(len(job.orientations)):
            gaps = squared_gaps(low, high, second.lows[turn][skipped:], second.highs[turn][skipped:])
            columns = np.flatnonzero(np.repeat(asked_for & (gaps <= near_enough), sizes)) + begin
            if with_it is not None:
                columns = columns[with_it[columns - begin] > 0]
            near.append(columns[point_gaps(low, high, second.heads[turn], columns) <= near_enough])
            reached[near[turn] - begin] = True
        others = slice(sizes[0] if second is first else 0, None)
        reached_pairs = _pairs_of(reached[others], stop - start, None if with_it is None else with_it[others])
        if second is first:  # an image is near the box of its own block, so all of that block is reached
            reached_pairs += int(stands_for[0] * asked_for[0])
        tally["box"] += int(stands_for[asked_for].sum()) - reached_pairs
        tally["level_4"] += reached_pairs
        for part in _parts(near):
            yield int(start), int(stop), part


def _pairs_of(reached: Bools, rows: int, each: Ints | None) -> int:
    """How many pairs the images that are reached have with a block: so many `rows` each, or what `each` has."""
    return int(reached.sum()) * rows if each is None else int(each[reached].sum())


def _parts(columns: list[Ints]) -> Iterator[list[Ints]]:
    """The same columns of each orientation in parts of some `_COLUMNS_AT_ONCE` in all; all of an image are in one."""
    if sum(map(len, columns)) <= _COLUMNS_AT_ONCE:
        yield columns
        return
    edges = np.sort(np.concatenate(columns))[_COLUMNS_AT_ONCE::_COLUMNS_AT_ONCE]
    cuts = [[0, *np.searchsorted(some, edges).tolist(), len(some)] for some in columns]
    for part in range(len(edges) + 1):
        yield [some[cut[part] : cut[part + 1]] for some, cut in zip(columns, cuts, strict=True)]


def _asked_for(job: Job, first: Strip, second: Strip, block: int, stands_for: Ints, tally: dict[str, int]) -> Bools:
    """Which of the last blocks of the second strip the filters let through, as many as `stands_for` has.

    A block has one root and one size where they matter.
    """
    if job.filters.none:
        return np.ones(len(stands_for), bool)
    facts = read_facts(job.run_dir)
    firsts = second.ids[second.starts[-1 - len(stands_for) : -1]]
    one = np.full(len(firsts), first.ids[first.starts[block]])
    of_roots = job.filters.of_roots(facts, one, firsts)
    asked_for = of_roots & job.filters.of_sizes(facts, one, firsts) if job.filters.same_size else of_roots
    tally["other_group"] += int(stands_for[~of_roots].sum())
    tally["filter"] += int(stands_for[of_roots & ~asked_for].sum())
    return asked_for


def _batches(parts: Iterator[Pairs]) -> Iterator[Pairs]:
    """The same pairs in batches worth refining, and no larger than may be; all orientations of a pair are in one."""
    waiting: list[Pairs] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part.x)
        if count >= _PAIRS_AT_ONCE:
            yield from _slices(_joined(waiting))
            waiting, count = [], 0
    if count:
        yield from _slices(_joined(waiting))


def _slices(batch: Pairs) -> Iterator[Pairs]:
    """The same pairs, so many at once as may be refined; those of an image of the second strip stay together."""
    count = len(batch.x)
    if count <= _PAIRS_AT_MOST:
        yield batch
        return
    order = np.argsort(batch.y, kind="stable")
    edges = np.flatnonzero(np.diff(batch.y[order])) + 1
    cuts = np.searchsorted(edges, np.arange(_PAIRS_AT_MOST, count, _PAIRS_AT_MOST), side="right") - 1
    for places in np.split(order, np.unique(edges[cuts[cuts >= 0]])):
        yield batch.only(places)


def _joined(parts: list[Pairs]) -> Pairs:
    if not parts:
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, nothing)
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "turn")))


def _refined(
    job: Job, first: Strip, second: Strip, pairs: Pairs, tally: dict[str, int]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Through the finer levels and the integers: ids a < b, SSE and orientation of b (a number into ORIENTATIONS)."""
    reached = pairs.unique()
    pairs = pairs.only(_within_second_level(job, first, second, pairs))
    left = pairs.unique()
    tally["level_8"] += reached - left
    crowded, sse = crowd_distances(job, first.ids, second.ids, pairs.x, pairs.y, pairs.turn)
    crowd, rest = pairs.only(crowded), pairs.only(~crowded)
    if (g := levels(job.side)[-1]) > SECOND_LEVEL:
        rest = rest.only(_within_finest(job, g, first.ids[rest.x], second.ids[rest.y], rest.turn))
    pairs = _joined([crowd, rest])
    sse = np.append(sse, distances(job, first.ids[rest.x], second.ids[rest.y], rest.turn))
    decided = pairs.unique()
    tally["level_16"] += left - decided
    tally["exact"] += decided
    return _least(job, first, second, pairs, sse)


def _within_second_level(job: Job, first: Strip, second: Strip, pairs: Pairs) -> Bools:
    if first.cells is None or second.cells is None:
        return np.ones(len(pairs.x), bool)
    return _near(job, SECOND_LEVEL, first.cells, second.cells, pairs)


def _within_finest(job: Job, g: int, a: Ints, b: Ints, turn: Ints) -> Bools:
    """The same for a level that is not sorted with the images: only the rows that are needed are read."""
    ids, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    cells = job.run_dir.levels().take(FINE, ids, checks(job.run_dir)[1][ids])
    return _near(job, g, cells, cells, Pairs(places[: len(a)], places[len(a) :], turn))


def _near(
    job: Job,
    g: int,
    first: npt.NDArray[np.generic],
    second: npt.NDArray[np.generic],
    pairs: Pairs,
) -> Bools:
    """Whether the bound of level g leaves each pair, of rows of `first` and `second`, within the limit."""
    weights = cell_weights(job.side, g)
    limit, at_once = level_limit(job.limit, len(weights)), max(1, _CELLS_AT_ONCE // len(weights))
    keep = np.empty(len(pairs.x), bool)
    for number, name in enumerate(job.orientations):
        columns = None if name == ORIENTATIONS[0] else turned_columns(g, name)
        mine = np.flatnonzero(pairs.turn == number)
        for start in range(0, len(mine), at_once):
            part = mine[start : start + at_once]
            rows = second.take(pairs.y[part], axis=0)
            rows = rows if columns is None else rows.take(columns, axis=1)
            keep[part] = level_sse(first.take(pairs.x[part], axis=0), rows, weights) <= limit
    return keep


def _least(job: Job, first: Strip, second: Strip, pairs: Pairs, sse: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Of the pairs with these SSE those (ids) at or under the limit, each once, with the least and its orientation."""
    near = sse <= job.limit
    pairs, sse = pairs.only(near), sse[near]
    x, y = first.ids[pairs.x], second.ids[pairs.y]
    a, b = np.minimum(x, y), np.maximum(x, y)
    # |x - R y| = |R^-1 x - y|: seen from the other side, the orientation is undone.
    straight = np.array([ORIENTATIONS.index(name) for name in job.orientations])
    undone = np.array([ORIENTATIONS.index(inverse(name)) for name in job.orientations])
    orientation = np.where(x > y, undone[pairs.turn], straight[pairs.turn])
    many, names = int(b.max(initial=0)) + 1, len(ORIENTATIONS)
    keys = a * many + b
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    least = (sse * names + orientation)[order]
    least = np.minimum.reduceat(least, starts) if len(starts) else least
    return *np.divmod(keys[starts], many), *np.divmod(least, names)
