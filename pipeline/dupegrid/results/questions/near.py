"""Matches -> which images are near which, sets of identical thumbnails included. Pure: tables in, arrays out.

An image of a large set of identical thumbnails is listed against the set's representative only (`identical_to`); it is
near whatever that is near, and the others of its set where these pairs were asked for. Nothing here writes such pairs
out: a set of 20,000 would have 200 million.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Float64s, Ints
from dupegrid.pairs.batches import Matches
from dupegrid.results.components import components


@dataclass(frozen=True)
class Near:
    """The pairs at or under a threshold, between sets of images; most sets are of one image.

    A set is named by its representative's id, so that arrays by set are as long as those by image.
    """

    ok: Bools  # (n,), by image: it was read
    set_of: Ints  # (n,), by image
    a: Ints  # (k,), pairs of two sets, each once
    b: Ints
    score: Float64s  # (k,)
    inner: Float64s  # (n,), by set: the score of any two of its images; infinite where they are not near

    def under(self, threshold: float) -> "Near":
        """The pairs that are at or under a lower threshold."""
        near = self.score <= threshold
        inner = np.where(self.inner <= threshold, self.inner, np.inf)
        return Near(self.ok, self.set_of, self.a[near], self.b[near], self.score[near], inner)

    def both_ways(self) -> tuple[Ints, Ints, Float64s]:
        """The pairs of two sets from either side: int64 (2k,), int64 (2k,), float64 (2k,)."""
        return (
            np.concatenate([self.a, self.b]),
            np.concatenate([self.b, self.a]),
            np.concatenate([self.score, self.score]),
        )


def near(images: pa.Table, matches: pa.Table | Matches, threshold: float) -> Near:
    """Which images are at or under a threshold from each other.

    `images` is a table with the columns id, identical_to and status of schema IMAGES, `matches` one with at least the
    columns a, b and score of schema MATCHES, or such in batches.
    """
    set_of = pc.coalesce(images["identical_to"], images["id"]).to_numpy()
    ok = np.asarray(pc.equal(images["status"], "ok").to_numpy(), bool)
    if isinstance(matches, Matches):
        rows = [(batch.a, batch.b, batch.score) for batch in matches.near(threshold)]
    else:
        listed = matches.filter(pc.less_equal(matches["score"], threshold))
        rows = [(listed["a"].to_numpy(), listed["b"].to_numpy(), listed["score"].to_numpy())]
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    a, b, score = map(np.concatenate, zip(nothing, *rows, strict=True))
    del rows
    a, b = set_of[a], set_of[b]
    inner, inside = np.full(len(set_of), np.inf), a == b
    np.minimum.at(inner, a[inside], score[inside])
    return Near(ok, set_of, a[~inside], b[~inside], score[~inside], inner)


def nearest(pairs: Near, chosen: Bools) -> tuple[Float64s, Ints]:
    """The least score of each image to another one of the `chosen`, bool (n,), and which that is.

    float64 (n,), infinite where none is near, and int64 (n,), then -1; of several the lowest id.
    """
    n = len(chosen)
    nobody = np.iinfo(np.int64).max
    ids = np.flatnonzero(chosen & pairs.ok)
    first, second = _lowest_two(pairs.set_of[ids], ids, n)
    least, who = np.full(n, np.inf), np.full(n, nobody)
    for here, there in ((pairs.a, pairs.b), (pairs.b, pairs.a)):
        held = first[there] < nobody
        np.minimum.at(least, here[held], pairs.score[held])
    for here, there in ((pairs.a, pairs.b), (pairs.b, pairs.a)):
        best = (first[there] < nobody) & (pairs.score == least[here])
        np.minimum.at(who, here[best], first[there[best]])
    mate = np.where(first[pairs.set_of] == np.arange(n), second[pairs.set_of], first[pairs.set_of])
    inner = np.where(mate < nobody, pairs.inner[pairs.set_of], np.inf)
    least, who = least[pairs.set_of], who[pairs.set_of]
    who = np.where(inner < least, mate, np.where(inner == least, np.minimum(who, mate), who))
    least = np.where(pairs.ok, np.minimum(least, inner), np.inf)
    return least, np.where(np.isinf(least), -1, who)


def groups(pairs: Near) -> Ints:
    """The lowest id joined to each image by near pairs, directly or through others: int64 (n,)."""
    n = len(pairs.ok)
    joined_sets = np.isfinite(pairs.inner)
    joined_sets[pairs.a] = joined_sets[pairs.b] = True
    member = np.flatnonzero(pairs.ok & joined_sets[pairs.set_of])
    return components(n, np.concatenate([pairs.a, member]), np.concatenate([pairs.b, pairs.set_of[member]]))


def crossed(first: Ints, second: Ints, starts: tuple[Ints, Ints], counts: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """All pairs of a row of one list and a row of another, for each pair of sets (first, second), int64 (k,).

    The rows of set s are starts[i][s] to starts[i][s] + counts[i][s], of the one list and of the other.
    """
    ours, theirs = counts[0][first], counts[1][second]
    total = ours * theirs
    pair = np.repeat(np.arange(len(first)), total)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(total) - total, total)
    return starts[0][first[pair]] + place // theirs[pair], starts[1][second[pair]] + place % theirs[pair]


def spans(sets: Ints, n: int) -> tuple[Ints, Ints]:
    """Where the rows of each of `n` sets start in a sorted column of sets, and how many they are: int64 (n,) each."""
    counts = np.bincount(sets, minlength=n)
    return np.cumsum(counts) - counts, counts


def totals(keys: npt.NDArray[Any], counts: Ints) -> tuple[npt.NDArray[Any], Ints]:
    """Each key once, in order, and the sum of its counts."""
    known, place = np.unique(keys, return_inverse=True)
    total = np.zeros(len(known), np.int64)
    np.add.at(total, place.reshape(-1), counts)
    return known, total


def looked_up(keys: Ints, values: npt.NDArray[Any], wanted: Ints, otherwise: float) -> Any:
    """The value of each wanted key, (k,); what is said `otherwise` where there is no such key."""
    row = pc.index_in(pa.array(wanted), pa.array(keys))
    return np.array(pa.array(values).take(row).fill_null(otherwise))  # which may be written to


def _lowest_two(sets: Ints, ids: Ints, n: int) -> tuple[Ints, Ints]:
    """By set the lowest id and the second lowest, the largest int64 where there is none: int64 (n,) each."""
    first, second = np.full((2, n), np.iinfo(np.int64).max)
    np.minimum.at(first, sets, ids)
    later = ids != first[sets]
    np.minimum.at(second, sets[later], ids[later])
    return first, second
