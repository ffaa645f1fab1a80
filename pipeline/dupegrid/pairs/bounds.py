"""Summaries of thumbnails and the lower bounds they give on the SSE of a pair; each bound with its rounding margin.

Level g: sums over the cells of a g x g grid, a channel at a time. For disjoint cells C of |C| values, Cauchy-Schwarz
gives (sum over C of a - b)^2 <= |C| * (sum over C of (a - b)^2), hence for cell sums A_C, B_C

    sum over C of (A_C - B_C)^2 / |C|  <=  |a - b|^2 = SSE.                                          (1)

The grids are symmetric, so that cell sums turn and mirror with the picture. The first level is further projected onto
its principal components: for orthonormal columns V, |V^T f|^2 <= |f|^2, so distances only shrink. Boxes around blocks
of projected images bound whole blocks of pairs. Last come integers (kernel.py). A pair is dropped only when a bound,
less what rounding can have added, is over the limit.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.arrays import Float32s, Float64s, Ints
from dupegrid.images.levels import FIRST_LEVEL, Cells, cell_weights, turned_columns
from dupegrid.pairs.kernel import UNIT_ROUNDOFF

COMPONENTS: Final = 24  # of 48: of photos they leave 9 % more candidates than 32, for 20 % less work
HEADS: Final = 8  # components that blocks are split by
_AT_ONCE: Final = 1024
_FLOAT64_SLACK: Final = 1e-9  # far above any rounding of the float64 steps here, far below what could matter


def level_sse(x: Cells, y: Cells, weights: Float64s) -> Float32s:
    """The left side of (1) for paired rows of cell sums (k, g * g * 3): float32 (k,), to compare with `level_limit`."""
    difference = np.subtract(x, y, dtype=np.float32)
    difference *= weights.astype(np.float32)
    sums: Float32s = np.einsum("kc,kc->k", difference, difference)
    return sums


def level_limit(limit: int, columns: int) -> float:
    """What `level_sse` of a pair with SSE <= `limit` is at or under.

    Differences of cell sums below 2^24 are exact; a term has five roundings (weight, product, square twice the first
    two), the sum of K positive terms K more: computed <= exact * (1 + u)^(K + 8) <= exact * (1 + 2 (K + 8) u).
    """
    return limit * (1 + 2 * (columns + 8) * UNIT_ROUNDOFF)


@dataclass(frozen=True)
class Projection:
    """The first level onto its principal components: f -> V^T (f - mean), float32."""

    side: int
    mean: Float64s
    basis: Float64s

    @classmethod
    def fit(cls, cells: Cells, side: int) -> "Projection":
        """From cell sums of the first level, (n, 48), of a sample of the images."""
        weights = cell_weights(side, FIRST_LEVEL)
        sample = cells.astype(np.float32)
        mean = sample.mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(cells.shape[1])
        sample -= mean.astype(np.float32)
        # Any orthonormal columns are safe, so float32 will do for what they are found by.
        _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64) * np.outer(weights, weights))
        mean *= weights
        basis = vectors[:, ::-1][:, :COMPONENTS]
        off = float(np.abs(basis.T @ basis - np.eye(basis.shape[1])).sum())
        if off > _FLOAT64_SLACK:
            raise ArithmeticError(f"principal components are not orthonormal (off by {off})")
        return cls(side, mean, basis)

    def __call__(self, cells: Cells, orientation: str) -> Float32s:
        """The components of images turned by an orientation: cell sums (n, 48) -> float32 (n, K)."""
        out = np.empty((len(cells), self.basis.shape[1]), np.float32)
        columns, weights = turned_columns(FIRST_LEVEL, orientation), cell_weights(self.side, FIRST_LEVEL)
        # Turning the cells is turning the rows of what they are multiplied with.
        turning = np.zeros_like(self.basis)
        turning[columns] = weights[:, None] * self.basis
        shift = self.mean @ self.basis
        for start in range(0, len(cells), _AT_ONCE):
            out[start : start + _AT_ONCE] = cells[start : start + _AT_ONCE].astype(np.float64) @ turning - shift
        return out


def radius(limit: int, largest_norm: float) -> float:
    """The distance that two float32 projections of a pair with SSE <= `limit` are within.

    By (1) and the orthonormal basis the exact projections are within sqrt(limit). Each is off by at most u times its
    norm, rounded from float64; a little more covers the float64 steps.
    """
    return math.sqrt(limit) * (1 + _FLOAT64_SLACK) + 2.1 * UNIT_ROUNDOFF * largest_norm


def box_limit(radius: float, components: int) -> float:
    """What the float32 squared gap of two boxes is at or under when they hold points within `radius`."""
    return radius * radius * (1 + 2 * (components + 8) * UNIT_ROUNDOFF)


def boxes(projected: Float32s, starts: Ints) -> tuple[Float32s, Float32s]:
    """Lower and upper corners of each block of consecutive rows: (n, K) and block starts (B,) -> twice (B, K)."""
    return np.minimum.reduceat(projected, starts, axis=0), np.maximum.reduceat(projected, starts, axis=0)


def squared_gaps(low: Float32s, high: Float32s, lows: Float32s, highs: Float32s) -> Float32s:
    """Squared distance of one box, (K,) twice, from each of B boxes, (B, K) twice: float32 (B,)."""
    gap = np.maximum(low - highs, lows - high)
    np.maximum(gap, 0, out=gap)
    sums: Float32s = np.einsum("bk,bk->b", gap, gap)
    return sums


def heads(projected: Float32s) -> Float32s:
    """The first components of each image, which hold most of its distance: (n, K) -> (8 or K, n), for `point_gaps`."""
    return np.ascontiguousarray(projected[:, :HEADS].T)


def point_gaps(low: Float32s, high: Float32s, points: Float32s, columns: Ints) -> Float32s:
    """Squared distance of one box, (K,) twice, from some of the points, `heads` (k, n) and (m,): float32 (m,).

    At most that of any point in the box, as fewer components only shrink it; `box_limit` covers the rounding.
    """
    some = points.take(columns, axis=1)
    gap = some - np.clip(some, low[: len(some), None], high[: len(some), None])
    sums: Float32s = np.einsum("km,km->m", gap, gap)
    return sums


def median_splits(points: Float32s, keys: Ints, block: int) -> tuple[Ints, Ints]:
    """An order of the images that puts like beside like, and the starts of its blocks of at most `block` images.

    Images are grouped by key, so that no block has two; each group is halved at the median of the widest of its first
    components until a block is left. `points` are `heads`, float32 (k, n), `keys` int64 (n,). Returns int64 (n,), (B,).
    """
    order = np.argsort(keys, kind="stable")
    points = points.take(order, axis=1)
    edges = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    pending = [(start, stop) for start, stop in pairwise(edges) if stop > start]
    starts = []
    while pending:
        start, stop = pending.pop()
        if stop - start <= block:
            starts.append(start)
            continue
        here = points[:, start:stop]
        half = max(block, (stop - start) // 2 // block * block)
        sides = here[int(here.var(axis=1).argmax())].argpartition(half)
        points[:, start:stop] = here.take(sides, axis=1)
        order[start:stop] = order[start:stop][sides]
        pending += [(start, start + half), (start + half, stop)]
    return order, np.array(sorted(starts), np.int64)


def strips(starts: Ints, images: int, side: int) -> Ints:
    """Bounds of strips of whole blocks, each of at least `side` images but the last: int64 (strips + 1,)."""
    bounds = [0]
    for end in [*starts[1:].tolist(), images]:
        if end - bounds[-1] >= side or end == images:
            bounds.append(end)
    return np.array(bounds if images else [0], np.int64)
