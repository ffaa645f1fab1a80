"""One tile by MSE: all pairs of two strips of sorted images, from their summaries to matches, by a list of steps.

Whole blocks that no filter lets through or whose boxes are too far apart are left out; the others are multiplied. What
passes is compared by all of its cosines, then integers decide. Each step counts what it decided (steps.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.arrays import Bools, Float32s, Ints
from dupegrid.images.levels import Cosines, prefixes, turned_cosines, turning
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.bounds import near_limit, radius, squared_distances, squared_gaps
from dupegrid.pairs.canonical import as_found
from dupegrid.pairs.exact import distances
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import candidates, float32_limit, left_operand
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.steps import Pairs, Squares, Step, asked_squares, aspect_filter, batches, joined, least, through
from dupegrid.pairs.strip import Strip, Turned

_BLOCKS_AT_ONCE: Final = 32  # found near before any is multiplied: what finds them stays in the cache
_SQUARES_AT_ONCE: Final = 1 << 17  # in strips of very small blocks: 1 MB of each of what is known of them
_COLUMNS_AT_ONCE: Final = 1024  # multiplied with a block: at most 2^19 pairs, whatever a tile holds
_PAIRS_AT_ONCE: Final = 1 << 18  # worth refining together; with those of one part more, some 150 MB
_COSINES_AT_ONCE: Final = 1 << 19  # compared: what comes of them stays in the cache

Partners = Callable[[int], Ints]  # of a block: with how many of its images each of the second strip is to be compared


def filter_tile(job: Job, first: Strip, second: Strip, tally: dict[str, int], writer: PartWriter) -> None:
    """Give the pairs at or under the limit to the writer, and count how all were decided."""
    cosines: list[Step] = [("cosines", partial(_near_by_cosines, job, first, second))]
    for pairs in batches(multiplied(job, first, second, tally), _PAIRS_AT_ONCE):
        left = through(cosines, pairs, tally)
        tally["exact"] += left.count
        writer.add(*least(job, first.ids, second.ids, left, distances(job, first, second, left)))


def multiplied(job: Job, first: Strip, second: Strip, tally: dict[str, int]) -> Iterator[Pairs]:
    """What the filters, the boxes and the product of the first cosines let through, by blocks of the first strip.

    The `turn` of a pair is that between canonical forms.
    """
    within = radius(job.limit, job.side)
    numbers, by_hash = list[Ints](), job.filters.same_hash != "any"
    if by_hash:
        hashes = read_facts(job.run_dir).hashes[np.append(first.ids, second.ids)]
        # Few, so that they can be counted for each block.
        numbers = np.split(np.unique(hashes, return_inverse=True)[1], [len(first.ids)])
    partners = partial(_partners, job, first, second, numbers)
    of_blocks: list[Step] = [("filter", partial(_of_hashes, first, second, partners))] if by_hash else []
    of_blocks.append(("box", partial(_near_boxes, job, first, second, within, partners)))
    of_pairs = aspect_filter(job, first.ids, second.ids)
    at_once = max(1, min(_BLOCKS_AT_ONCE, _SQUARES_AT_ONCE // len(second.starts)))
    for start in range(0, len(first.starts) - 1, at_once):
        asked = asked_squares(job, first, second, tally, slice(start, start + at_once))
        of_each = pairwise(np.flatnonzero(np.diff(asked.rows, prepend=-1, append=-1)).tolist())
        for near in [near for some in of_each if (near := through(of_blocks, asked.only(slice(*some)), tally)).count]:
            tally["product"] += near.count
            for pairs in _near_points(job, first, second, within, near):
                tally["product"] -= pairs.count
                yield through(of_pairs, pairs, tally)


@dataclass(frozen=True)
class _Near:
    """A block of the first strip with images of the second, by orientation, and how many pairs of images these are."""

    rows: slice
    columns: list[Ints]
    count: int


def _partners(job: Job, first: Strip, second: Strip, numbers: list[Ints], block: int) -> Ints:
    """With how many images of a block each of the second strip is to be compared; `numbers` are equal where hashes are.

    No numbers where pairs do not go by hashes.
    """
    rows = slice(*first.starts[block : block + 2])
    if not numbers:
        return np.full(len(second.ids), rows.stop - rows.start)  # np.broadcast_to takes twice as long
    return job.filters.partners(numbers[0][rows], numbers[1], rows if second is first else slice(0))


def _of_hashes(first: Strip, second: Strip, partners: Partners, left: Squares) -> Squares:
    """Pairs of a block are left out by their hashes, image by image."""
    block = int(left.rows[0])
    pairs = np.add.reduceat(partners(block), second.starts[:-1])
    if second is first:
        pairs[block] //= 2  # each pair of a block with itself is there twice
    return Squares(left.rows, left.columns, pairs[left.columns])


def _near_boxes(job: Job, first: Strip, second: Strip, within: float, partners: Partners, left: Squares) -> _Near:
    """The images of the second strip whose point is near the box of a block, in blocks whose box is."""
    block, asked = int(left.rows[0]), np.zeros(len(second.starts) - 1, bool)
    asked[left.columns[left.pairs > 0]] = True
    rows = slice(*first.starts[block : block + 2].tolist())
    box = first.turned[0].lows[block], first.turned[0].highs[block]
    of_each, reached, near = partners(block), np.zeros(len(second.ids), np.int64), []
    for turned in second.turned:
        columns = _near_columns(job, box, turned, asked, within)
        images = turned.rows[columns]
        reached[images] = of_each[images]
        near.append(columns[reached[images] > 0])
    count = left.only(left.columns == block).count if second is first else 0
    if second is first:  # an image is near the box of its own block, so that all of that block is reached
        reached[rows] = 0
    return _Near(rows, near, count + int(reached.sum()))


def _near_columns(job: Job, box: tuple[Float32s, Float32s], turned: Turned, asked: Bools, within: float) -> Ints:
    """The points whose first cosines are near a box, in those blocks that are asked for and so near it."""
    lows, highs, starts, limit = turned.lows, turned.highs, turned.starts, near_limit(within, turned.first.shape[1])
    if loops := job.loops:
        return loops.near_columns(box, (lows, highs), starts, asked, turned.heads, np.float32(float32_limit(limit)))
    columns = np.flatnonzero(np.repeat(asked & (squared_gaps(*box, lows, highs) <= limit), np.diff(starts)))
    points = turned.heads.take(columns, axis=1)
    points -= points.clip(*(corner[: len(points), None] for corner in box))
    sums: Float32s = np.einsum("kn,kn->n", points, points)
    return columns[sums <= limit]


def _parts(columns: list[Ints], strip: list[Turned]) -> Iterator[list[Ints]]:
    """The same columns of each orientation in parts of some `_COLUMNS_AT_ONCE` in all; all of an image are in one."""
    images = [turned.rows[some] for turned, some in zip(strip, columns, strict=True)]
    edges = np.sort(np.concatenate(images))[::_COLUMNS_AT_ONCE]
    cuts = [[*np.searchsorted(some, edges).tolist(), len(some)] for some in images]
    for part in range(len(edges)):
        yield [some[cut[part] : cut[part + 1]] for some, cut in zip(columns, cuts, strict=True)]


def _near_points(job: Job, first: Strip, second: Strip, within: float, near: _Near) -> Iterator[Pairs]:
    """The pairs of a block with columns of each orientation whose product of the first cosines is within the radius."""
    points, loops = first.turned[0].first[near.rows], job.loops
    limit = near_limit(within, points.shape[1])
    made = loops.leaves(points) if loops else left_operand(first.turned[0].operand[near.rows])
    for part in _parts(near.columns, second.turned):
        found = []
        for turn, (turned, some) in enumerate(zip(second.turned, part, strict=True)):
            if loops:
                most = np.full(len(some), len(points))
                if second is first:  # each pair of a block once
                    np.minimum(turned.rows[some] - near.rows.start, most, out=most)
                x, y = loops.near_pairs(made, turned.first, some, most, np.float32(float32_limit(limit)))
            else:
                x, y = candidates(made, turned.operand.take(some, axis=0), within * within)
            found.append(Pairs(x + near.rows.start, turned.rows[some[y]], np.full(len(x), turn)))
        pairs = joined(found)
        if second is first and not loops:
            pairs = pairs.only(pairs.x < pairs.y)
        if job.filters.same_hash != "any":  # else a worker needs no facts of the images; what goes was counted before
            pairs = pairs.only(job.filters.of_hashes(read_facts(job.run_dir), first.ids[pairs.x], second.ids[pairs.y]))
        yield pairs


def _near_by_cosines(job: Job, first: Strip, second: Strip, left: Pairs) -> Pairs:
    """The pairs that all cosines leave within the radius; their `turn` is that of the pictures as they were found."""
    keep = np.zeros(len(left.x), bool)
    for number, name in enumerate(job.orientations):
        mine = np.flatnonzero(left.turn == number)
        keep[mine] = _are_near(job, first.cosines, second.cosines, left.only(mine), name)
    near = left.only(keep)
    return Pairs(near.x, near.y, as_found(job.orientations)[first.home[near.x], near.turn, second.home[near.y]])


def _are_near(job: Job, first: Cosines, second: Cosines, pairs: Pairs, name: str) -> Bools:
    """Whether pairs of rows are within the radius, those of `second` turned."""
    _, begun, count = prefixes(job.side)
    limit = np.float32(float32_limit(near_limit(radius(job.limit, job.side), count)))
    if loops := job.loops:
        return loops.near_rows(first, second, (pairs.x, pairs.y), turning(job.side, name), begun, limit)
    near, at_once = np.empty(len(pairs.x), bool), _COSINES_AT_ONCE // count
    for start in range(0, len(near), at_once):
        part = slice(start, start + at_once)
        x, y = first.take(pairs.x[part], axis=0), turned_cosines(second.take(pairs.y[part], axis=0), job.side, name)
        near[part] = squared_distances(x, y) <= limit
    return near
