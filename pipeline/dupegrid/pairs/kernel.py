"""Squared distances of thumbnails, on numpy or cupy: whatever array module the arguments come from.

A candidate is a pair whose float32 distance, less a proven rounding margin, is at or under the limit. What is a match
is decided in integers, so the float product can only cost time, never a pair.
"""

import math
from typing import Final

import numpy as np

from dupegrid.core.arrays import Array, array_module, turned

UNIT_ROUNDOFF: Final = 2.0**-24  # of float32, rounding to nearest
_COLUMNS_AT_ONCE: Final = 512  # so that products with 512 rows are still in the cache when they are looked through


def product_margin(terms: int) -> float:
    """The relative margin e that makes `candidates` safe for points of K = `terms` - 2 float32 coordinates.

    A computed distance is an inner product of `terms` products, -2 x_k y_k and the two norms. With g = t u / (1 - t u)
    for t terms and unit roundoff u, Higham (Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1)
    bounds its error, in whatever order it is summed, fused or not, by g times the sum of the terms' magnitudes:

        g (2 |x| . |y| + |x|^2 + |y|^2)  <=  2 g (|x|^2 + |y|^2).

    Rounding the norms to float32 adds u (|x|^2 + |y|^2). Norms scaled by 1 - e, e = 2 g + 2 u, take both off again:
    computed <= exact.
    """
    tu = terms * UNIT_ROUNDOFF
    return 2 * tu / (1 - tu) + 2 * UNIT_ROUNDOFF


def right_operand(points: Array) -> Array:
    """float32 (n, K) -> (n, K + 2): the points, one, and their squared norms less the margin."""
    xp, k = array_module(points), points.shape[1]
    operand = xp.empty((len(points), k + 2), np.float32)
    norms = xp.einsum("nk,nk->n", points, points, dtype=np.float64)
    operand[:, :k], operand[:, k], operand[:, k + 1] = points, 1, norms * (1 - product_margin(k + 2))
    return operand


def left_operand(right: Array) -> Array:
    """Rows of `right_operand` -> what gives with others of them the squared distances, less the margin: (m, K + 2)."""
    left, k = array_module(right).empty_like(right), right.shape[1] - 2
    left[:, :k], left[:, k], left[:, k + 1] = -2 * right[:, :k], right[:, k + 1], 1
    return left


def candidates(left: Array, right: Array, limit: float) -> tuple[Array, Array]:
    """Row numbers (into left, into right) of every pair of points whose squared distance may be at or under `limit`.

    The arguments are the operands of (m, K) and (n, K) points. None is missing: see `product_margin`.
    """
    xp, rows, most = array_module(left), len(left), float32_limit(limit)
    starts = range(0, max(1, len(right)), _COLUMNS_AT_ONCE)
    products = (right[start : start + _COLUMNS_AT_ONCE] @ left.T for start in starts)
    found = [xp.flatnonzero(product <= most) + start * rows for start, product in zip(starts, products, strict=True)]
    y, x = xp.divmod(xp.concatenate(found), max(1, rows))
    return x, y


def float32_limit(limit: float) -> float:
    """The next float32 above a limit, which need not be one."""
    return float(np.nextafter(np.float32(limit), np.float32(np.inf)))


def exact_sse(x: Array, y: Array) -> Array:
    """Sums of squared differences of paired images: uint8 (k, S, S, 3) and (k, S, S, 3) -> int64 (k,), in integers.

    A square is at most 255^2 < 2^16, and the sum of a row of 3 S < 2^16 such stays below 2^32.
    """
    k, side = x.shape[:2]
    xp = array_module(x)
    squares = xp.reshape(xp.astype(xp.maximum(x, y) - xp.minimum(x, y), xp.uint16), (k, side, 3 * side))
    squares *= squares
    return xp.sum(xp.sum(squares, axis=2, dtype=xp.uint32), axis=1, dtype=xp.int64)


def sse_block(a: Array, b: Array) -> Array:
    """The SSE of all pairs of two sets of images, uint8 (m, S, S, 3) and (n, S, S, 3) -> float64 (m, n); exact.

    Bytes less 128 are integers of at most 2^7, so 1,024 products of two sum to at most 2^24: float32 holds every such
    sum, in whatever order it is made. The sums of these, far below 2^53, are exact in float64.
    """
    xp = array_module(a)
    x, y = (images.reshape(len(images), math.prod(images.shape[1:])) for images in (a, b))  # of none too
    products, x_norms, y_norms = (xp.zeros(shape, np.float64) for shape in ((len(x), len(y)), len(x), len(y)))
    for start in range(0, x.shape[1], 1024):
        left, right = (
            xp.subtract(values[:, start : start + 1024], np.float32(128), dtype=np.float32) for values in (x, y)
        )
        products += left @ right.T
        x_norms += xp.einsum("nk,nk->n", left, left)
        y_norms += xp.einsum("nk,nk->n", right, right)
    return x_norms[:, None] + y_norms[None, :] - 2 * products


def mse_block(a: Array, b: Array, orientations: tuple[str, ...]) -> Array:
    """The MSE matrix of two sets of images, uint8 (m, S, S, 3) and (n, S, S, 3) -> float64 (m, n); exact."""
    xp = array_module(a)
    least = sse_block(a, turned(b, orientations[0]))
    for name in orientations[1:]:
        xp.minimum(least, sse_block(a, turned(b, name)), out=least)
    return least / math.prod(a.shape[1:])


def mae(x: Array, y: Array) -> Array:
    """Mean absolute error: uint8 (m, D) and (n, D) -> float64 (m, n), exact up to the division."""
    xp = array_module(x)
    wide = y.astype(np.int16)
    return xp.stack([xp.abs(row - wide).sum(axis=1, dtype=np.int64) for row in x]) / x.shape[1]
