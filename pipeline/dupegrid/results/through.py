"""How the images of a cluster are joined: through which other one a bridge is, and how each lies beside its keeper."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Float64s, Ints, inverse


@dataclass(frozen=True)
class Joins:
    """Of each row of a table of clusters, (k,); rows count from 0, and -1 or None stand for none."""

    turn: list[str | None]  # what is done to the image so that it lies as its keeper does
    through: Ints  # of a bridge: the row of the image through which it is joined, on the shortest way to its keeper
    through_mse: Float64s  # of these two; NaN where there is none
    through_turn: list[str | None]  # what is done to the bridge so that it lies as that image does


def joins(images: pa.Table, matches: pa.Table, clusters: pa.Table, threshold: float) -> Joins:
    """Of tables of schema IMAGES and CLUSTERS, and the columns a, b, mse, orientation and score of MATCHES.

    A bridge with a match of its own with the keeper is joined through none.
    """
    representative = images["identical_to"].fill_null(-1).to_numpy()
    stands_for = np.where(representative >= 0, representative, np.arange(len(images)))
    image, keeper = clusters["image"].to_numpy(), clusters["keeper"].to_numpy()
    parent, mse = _ways(matches.filter(pc.less_equal(matches["score"], threshold)), clusters, stands_for)
    is_bridge = pc.equal(clusters["role"], "bridge").to_numpy()
    through = np.where(is_bridge & (image[parent] != keeper), parent, -1)
    return Joins(
        turn=_turns(matches, stands_for[image], stands_for[keeper]),
        through=through,
        through_mse=np.where(through >= 0, mse, np.nan),
        through_turn=_turns(matches, stands_for[image], np.where(through >= 0, stands_for[image[through]], -1)),
    )


def rows_of_pairs(x: Ints, y: Ints, pairs: pa.Table) -> Ints:
    """The row of `pairs`, columns a < b, that holds each pair of ids (x, y), either way round; -1 where none does."""
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    if not len(a):
        return np.full(len(x), -1, np.int64)
    n = int(max(b.max(), x.max(initial=0), y.max(initial=0))) + 1
    keys = a * n + b
    order = np.argsort(keys, kind="stable")
    wanted = np.minimum(x, y) * n + np.maximum(x, y)
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    return np.where(keys[at] == wanted, at, -1)


def _turns(matches: pa.Table, image: Ints, other: Ints) -> list[str | None]:
    rows = rows_of_pairs(image, other, matches)
    known = matches["orientation"].take(pa.array(rows, mask=rows < 0)).to_pylist()
    return [
        inverse(turn) if turn is not None and first else turn for turn, first in zip(known, image < other, strict=True)
    ]


def _ways(near: pa.Table, clusters: pa.Table, stands_for: Ints) -> tuple[Ints, Float64s]:
    """Of each row of `clusters` the one before it on a shortest way from its keeper, -1 for none, and their MSE.

    Where several ways are as short, the step of the lowest MSE is taken. Only clusters with bridges are looked at.
    """
    row_of = np.full(len(stands_for), -1, np.int64)
    row_of[clusters["image"].to_numpy()] = np.arange(len(clusters))
    label = clusters["cluster"].to_numpy()
    with_bridges = np.isin(label, label[pc.equal(clusters["role"], "bridge").to_numpy()])
    copies = np.flatnonzero(stands_for != np.arange(len(stands_for)))  # of which only the first pair is listed
    a, b, mse = _steps(row_of, near, {"a": stands_for[copies], "b": copies})
    kept = (a >= 0) & (b >= 0)
    kept[kept] = with_bridges[a[kept]] & (label[a[kept]] == label[b[kept]])
    a, b, mse = a[kept], b[kept], mse[kept]
    parent, length = np.full(len(clusters), -1, np.int64), np.zeros(len(clusters))
    seen: Bools = pc.equal(clusters["role"], "keep").to_numpy().copy()
    while True:
        here = np.flatnonzero(seen[a] & ~seen[b])
        if not len(here):
            return parent, length
        here = here[np.lexsort((mse[here], b[here]))]
        here = here[np.diff(b[here], prepend=-1) > 0]
        parent[b[here]], length[b[here]], seen[b[here]] = a[here], mse[here], True
        left = ~seen[b]
        a, b, mse = a[left], b[left], mse[left]


def _steps(row_of: Ints, near: pa.Table, copies: Mapping[str, Ints]) -> tuple[Ints, Ints, Float64s]:
    """The pairs as steps from row to row, each in both directions."""
    a, b = (np.concatenate([row_of[near[name].to_numpy()], row_of[copies[name]]]) for name in "ab")
    mse = np.concatenate([near["mse"].to_numpy(), np.zeros(len(copies["a"]))])
    return np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([mse, mse])
