"""How the images of a cluster are joined: through which other one a bridge is, and how each lies beside its keeper."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Bools, Float64s, Ints, id_dtype, inverse
from dupegrid.pairs.batches import Matches, of_pairs
from dupegrid.results.rows import Rows, representatives
from dupegrid.results.stars import keep_nearest


@dataclass(frozen=True)
class Joins:
    """Of each row of a table of clusters, (k,); rows count from 0, and -1 or None stand for none."""

    turn: list[str | None]  # what is done to the image so that it lies as its keeper does
    through: Ints  # of a bridge: the row of the image through which it is joined, on the shortest way to its keeper
    through_mse: Float64s  # of these two; NaN where there is none
    through_turn: list[str | None]  # what is done to the bridge so that it lies as that image does


def joins(images: pa.Table | Rows, matches: pa.Table | Matches, clusters: pa.Table, threshold: float) -> Joins:
    """Of tables of schema IMAGES and CLUSTERS, and matches as `clusters` takes them; whole clusters, in any order.

    A bridge with a match of its own with the keeper is joined through none.
    """
    stands_for = representatives(Rows.of(images))
    image, keeper = clusters["image"].to_numpy(), clusters["keeper"].to_numpy()
    matches = Matches.of(matches)
    parent, mse = _ways(matches.near(threshold), clusters, stands_for)
    is_bridge = pc.equal(clusters["role"], "bridge").to_numpy()
    through = np.where(is_bridge & (image[parent] != keeper), parent, -1)
    rows = np.flatnonzero(through >= 0)
    through_turn = np.full(len(through), None, object)
    through_turn[rows] = _turns(matches, stands_for[image[rows]], stands_for[image[through[rows]]], len(images))
    return Joins(
        turn=_turns(matches, stands_for[image], stands_for[keeper], len(images)),
        through=through,
        through_mse=np.where(through >= 0, mse, np.nan),
        through_turn=through_turn.tolist(),
    )


def _turns(matches: Matches, image: Ints, other: Ints, images: int) -> list[str | None]:
    """What is done to each image so that it lies as the other does, ids (k,) of so many; None where nobody knows."""
    known = of_pairs(matches, image, other, images)[2].tolist()
    names = [ORIENTATIONS[turn] if turn >= 0 else None for turn in known]
    return [
        inverse(turn) if turn is not None and first else turn for turn, first in zip(names, image < other, strict=True)
    ]


def _ways(near: Matches, clusters: pa.Table, stands_for: Ints) -> tuple[Ints, Float64s]:
    """Of each row of `clusters` the one before it on a shortest way from its keeper, -1 for none, and their MSE.

    Where several ways are as short, the step of the lowest MSE is taken, then of the lowest id. Only clusters with
    bridges are looked at. The matches are gone through once for each step of the longest way.
    """
    row_of = np.full(len(stands_for), -1, id_dtype(len(clusters)))
    row_of[clusters["image"].to_numpy()] = np.arange(len(clusters))
    copies = np.flatnonzero(stands_for != np.arange(len(stands_for)))  # of which only the first pair is listed
    label = clusters["cluster"].to_numpy()
    left: Bools = np.isin(label, label[pc.equal(clusters["role"], "bridge").to_numpy()])
    left &= pc.not_equal(clusters["role"], "keep").to_numpy()
    seen: Bools = pc.equal(clusters["role"], "keep").to_numpy().copy()
    parent, length = np.full(len(clusters), -1, np.int64), np.zeros(len(clusters))
    image, found = clusters["image"].to_numpy(), True
    while found and left.any():
        least, nearest = np.full(len(clusters), np.inf), np.full(len(clusters), -1, np.int64)
        for a, b, mse in _steps(near, stands_for[copies], copies):
            x, y = np.concatenate([row_of[a], row_of[b]]), np.concatenate([row_of[b], row_of[a]])
            rows = np.flatnonzero((x >= 0) & (y >= 0))
            rows = rows[left[x[rows]] & seen[y[rows]] & (label[x[rows]] == label[y[rows]])]
            keep_nearest(least, nearest, x[rows], image[y[rows]], mse[rows % len(mse)])
        reached = nearest >= 0
        found = bool(reached.any())
        parent[reached], length[reached] = row_of[nearest[reached]], least[reached]
        seen |= reached
        left &= ~reached
    return parent, length


def _steps(near: Matches, first: Ints, copies: Ints) -> Iterator[tuple[Ints, Ints, Float64s]]:
    """The pairs, and those of copies with the first of their set: ids and MSE, batch by batch."""
    for batch in near:
        yield batch.a, batch.b, batch.mse
    yield first, copies, np.zeros(len(copies))
