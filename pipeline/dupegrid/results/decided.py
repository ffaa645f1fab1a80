"""What people decided of pairs of pictures, as a run's images have it. Pure: tables in, arrays out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints

_DEEPEST: Final = 64  # pictures kept over each other in a row; in a circle they would have no end


@dataclass(frozen=True)
class Decided:
    """Decisions by image. One of a file holds for all files with the same bytes."""

    number: Ints  # (n,), by image: of what its file holds
    apart: Ints  # (k,), pairs of numbers that are not the same, as smaller * n + larger, ascending
    same: Ints  # (k,), likewise those that are
    after: Ints  # (n,), by image: 0 unless somebody kept another of the images over it
    variant: Bools  # (n,), by image: it is kept beside another one of the images

    @classmethod
    def of(cls, images: pa.Table, in_force: pa.Table) -> "Decided | None":
        """What decisions (schema DECISIONS, one a pair) say of images (schema IMAGES); None where they say nothing."""
        read = pc.if_else(pc.equal(images["status"], "ok"), images["file_hash"], pa.scalar(None, pa.string()))
        known = pc.unique(read).drop_null()
        place = {name: pc.index_in(in_force[name], known) for name in ("hash_a", "hash_b", "keeper")}
        here = pc.and_(pc.is_valid(place["hash_a"]), pc.is_valid(place["hash_b"]))
        if not pc.any(here).as_py():
            return None
        n = len(images)
        a, b = (place[name].filter(here).to_numpy().astype(np.int64) for name in ("hash_a", "hash_b"))
        verdict = in_force["decision"].filter(here).to_numpy(zero_copy_only=False).astype(str)
        keeper = place["keeper"].filter(here).fill_null(-1).to_numpy().astype(np.int64)
        key = np.minimum(a, b) * n + np.maximum(a, b)
        number = pc.index_in(read, known).fill_null(-1).to_numpy().astype(np.int64)
        number[number < 0] = n - 1 - np.arange((number < 0).sum())  # what was not read is like nothing else
        ranked = (verdict == "same") & (keeper >= 0)
        loser = np.where(keeper == a, b, a)[ranked]
        variants = np.concatenate([some[verdict == "variant"] for some in (a, b)])
        return cls(
            number,
            np.sort(key[verdict == "not-same"]),
            np.sort(key[verdict == "same"]),
            _depths(keeper[ranked], loser, n)[number],
            np.isin(number, variants),
        )

    def are_apart(self, x: Ints, y: Ints) -> Bools:
        """Which pairs of images, ids (k,) each, were decided not to be the same."""
        return np.isin(self._keys(x, y), self.apart)

    def are_same(self, x: Ints, y: Ints) -> Bools:
        """Which pairs of images were decided to be the same."""
        return np.isin(self._keys(x, y), self.same)

    def have_one_apart(self, x: Ints, keeper: Ints) -> Bools:
        """Whether each image x shares its keeper with an image that was decided not to be the same as x: bool (k,).

        At most one of such two is the same as their keeper, and nobody said which.
        """
        n = len(self.number)
        one, other = np.divmod(np.concatenate([self.apart, self.apart % n * n + self.apart // n]), n)
        order = np.argsort(one, kind="stable")
        of, among = self.number[x], keeper * n
        first, end = (np.searchsorted(one[order], of, side=side) for side in ("left", "right"))
        count = end - first
        row = np.repeat(np.arange(len(x)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        there = np.isin(among[row] + other[order][place], among + of)
        return np.isin(np.arange(len(x)), row[there])

    def are_equal(self, x: Ints, y: Ints) -> Bools:
        """Which pairs of images are equal byte for byte."""
        return np.asarray(self.number[x] == self.number[y], bool)

    def _keys(self, x: Ints, y: Ints) -> Ints:
        a, b = self.number[x], self.number[y]
        return np.asarray(np.minimum(a, b) * len(self.number) + np.maximum(a, b), np.int64)


def _depths(winner: Ints, loser: Ints, n: int) -> Ints:
    """For each of `n` images the length of the longest chain of images kept one over the other above it: int64 (n,)."""
    depth = np.zeros(n, np.int64)
    for _ in range(_DEEPEST):
        before = depth.copy()
        np.maximum.at(depth, loser, depth[winner] + 1)
        if np.array_equal(before, depth):
            break
    return depth
