"""Pairs that are left to decide, and the one loop by which each step leaves fewer and counts what it decided.

On numpy, or on any array module that a device has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dupegrid.core.arrays import ORIENTATIONS, Array, Bools, Ints, array_module, inverse, on_host
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.job import Job
from dupegrid.pairs.strip import Strip

Step = tuple[str, Callable[[Any], Any]]  # the receipt's name of what it decides, and what gives those that are left


def through(steps: Sequence[Step], left: Any, tally: dict[str, int]) -> Any:
    """What all steps leave, one after the other, of something with a `count` of the pairs of images in it.

    How many each of them decided is added under its name.
    """
    for name, step in steps:
        before, left = left, step(left)
        tally[name] += before.count - left.count
    return left


@dataclass(frozen=True)
class Squares:
    """Blocks of the first strip with blocks of the second, and how many pairs of images each is: int64 (k,) each."""

    rows: Ints
    columns: Ints
    pairs: Ints

    def only(self, keep: Bools | slice) -> "Squares":
        """Those for which `keep` is true, or those in a slice."""
        return Squares(self.rows[keep], self.columns[keep], self.pairs[keep])

    @property
    def count(self) -> int:
        """How many pairs of images these are."""
        return int(self.pairs.sum())


def asked_squares(job: Job, first: Strip, second: Strip, tally: dict[str, int], some: slice = slice(None)) -> Squares:
    """Some blocks of the first strip with those of the second that are asked for; how many pairs are not is counted.

    A block has one root and one size where they matter. Of a strip with itself each pair of images is there once.
    """
    m, n = np.diff(first.starts), np.diff(second.starts)
    blocks = np.arange(len(m))[some]
    pairs = np.outer(m[blocks], n)
    if first is second:
        pairs[blocks[:, None] > np.arange(len(n))] = 0
        pairs[np.arange(len(blocks)), blocks] = m[blocks] * (m[blocks] - 1) // 2
    rows, columns = np.nonzero(pairs)
    squares, filters = Squares(blocks[rows], columns, pairs[rows, columns]), job.filters
    if filters.none:
        return squares
    facts = read_facts(job.run_dir)
    ids = first.ids[first.starts[squares.rows]], second.ids[second.starts[columns]]
    of_roots = filters.of_roots(facts, *ids)
    keep = of_roots & filters.of_sizes(facts, *ids) if filters.same_size else of_roots
    tally["other_group"] += squares.only(~of_roots).count
    tally["filter"] += squares.only(of_roots & ~keep).count
    return squares.only(keep)


def aspect_filter(job: Job, first: Ints, second: Ints) -> list[Step]:
    """The step that leaves out `Pairs` of the images of two strips, by their ids, whose aspects differ too much."""
    filters = job.filters
    if filters.max_aspect is None:
        return []
    facts = read_facts(job.run_dir)

    def like(left: "Pairs") -> "Pairs":
        keep = filters.of_sizes(facts, first[on_host(left.x)], second[on_host(left.y)])
        return left.only(array_module(left.x).asarray(keep))

    return [("filter", like)]


@dataclass(frozen=True)
class Pairs:
    """Pairs of images under one orientation each: rows of the first strip, of the second, place in job.orientations.

    int64 (k,) each.
    """

    x: Array
    y: Array
    turn: Array

    def only(self, keep: Bools | Ints) -> "Pairs":
        """The pairs for which `keep` is true, or those at the places it names."""
        return Pairs(self.x[keep], self.y[keep], self.turn[keep])

    @cached_property
    def count(self) -> int:
        """How many different pairs of images these are."""
        xp, size = array_module(self.x), int(self.x.shape[0])
        if not size or not xp.any(self.turn != 0):
            return size
        keys = xp.sort(self.x * (int(xp.max(self.y)) + 1) + self.y)  # 6 million in 0.06 s; np.unique hashes: 5 s
        return 1 + int(xp.count_nonzero(keys[1:] != keys[:-1]))


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Some pairs as one; numpy's."""
    if len(parts) == 1:
        return parts[0]
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "turn")))


def batches(parts: Iterable[Pairs], worth: int) -> Iterator[Pairs]:
    """The same pairs in batches of at least `worth`; all orientations of a pair of images stay in one, as in a part."""
    waiting, count = list[Pairs](), 0
    for part in parts:
        waiting.append(part)
        count += len(part.x)
        if count >= worth:
            yield joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield joined(waiting)


def least(job: Job, first: Ints, second: Ints, pairs: Pairs, sse: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The pairs with an SSE at or under the limit, each once: ids a < b, its least SSE and the orientation of b.

    `first` and `second` are the ids of the strips' images; an orientation is a place in ORIENTATIONS. int64 (k,) each.
    """
    near = np.flatnonzero(sse <= job.limit)
    pairs, sse = pairs.only(near), sse[near]
    x, y = first[pairs.x], second[pairs.y]
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
    smallest = (sse * names + orientation)[order]
    smallest = np.minimum.reduceat(smallest, starts) if len(starts) else smallest
    return *np.divmod(keys[starts], many), *np.divmod(smallest, names)
