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

Step = tuple[str, Callable[[Any], Any]]  # the receipt's name of what it decides, and what gives those that are left


def through(steps: Sequence[Step], left: Any, tally: dict[str, int]) -> Any:
    """What all steps leave, one after the other, of something with a `count` of the pairs of images in it.

    How many each of them decided is added under its name.
    """
    for name, step in steps:
        before, left = left, step(left)
        tally[name] += before.count - left.count
    return left


def block_filters(job: Job, firsts: Callable[[Any], tuple[Ints, Ints]]) -> list[Step]:
    """The steps that leave out blocks not asked for: a block has one root and one size where they matter.

    `firsts` gives of blocks an image of each and one of its partner: ids (k,) each. Blocks have `only`.
    """
    if job.filters.none:
        return []
    facts, filters = read_facts(job.run_dir), job.filters
    steps: list[Step] = [("other_group", lambda left: left.only(filters.of_roots(facts, *firsts(left))))]
    if filters.same_size:
        steps.append(("filter", lambda left: left.only(filters.of_sizes(facts, *firsts(left)))))
    return steps


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
