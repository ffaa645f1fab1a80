"""Squared distances of thumbnails, on numpy or cupy: whatever array module the arguments come from.

A candidate is a pair whose float32 distance, less a proven rounding margin, is at or under the limit. What is a match
is then decided in integers, so the float product can only cost time, never a pair.
"""

import math
from typing import Any, Final

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray

ORIENTATIONS: Final = (
    "identity",
    "rot90",
    "rot180",
    "rot270",
    "flip",
    "flip_rot90",
    "flip_rot180",
    "flip_rot270",
)
CHOICES: Final = {"none": ORIENTATIONS[:1], "rotations": ORIENTATIONS[:4], "all": ORIENTATIONS}
_CENTRE: Final = 128
_UNIT_ROUNDOFF: Final = 2.0**-24  # of float32, rounding to nearest


def turned(thumbs: Array, orientation: str) -> Array:
    """What an orientation does to images: arrays of shape (n, S, S, 3) -> the same shape, a view.

    rotN turns counter-clockwise by N degrees; flip mirrors left-right; flip_rotN mirrors first and then turns.
    """
    if orientation.startswith("flip"):
        thumbs = thumbs[:, :, ::-1]
    quarter_turns = {"90": 1, "80": 2, "70": 3}.get(orientation[-2:], 0)
    return thumbs if quarter_turns == 0 else _module(thumbs).rot90(thumbs, quarter_turns, (1, 2))


def centred(thumbs: Array) -> Array:
    """uint8 array of shape (n, S, S, 3) -> float32 array of shape (n, S * S * 3), less 128; exact."""
    return _vectors(thumbs).astype(np.float32) - np.float32(_CENTRE)


def rounding_margin(values: int) -> float:
    """The relative margin e of a float32 squared distance: computed >= exact - e * (|x|^2 + |y|^2).

    For vectors of K = `values` numbers and unit roundoff u, Higham (Accuracy and Stability of Numerical Algorithms,
    2nd ed., section 3.1) bounds the inner product in whatever order it is summed, fused or not:

        |fl(x . y) - x . y| <= g |x| . |y| <= g |x| |y| <= g (|x|^2 + |y|^2) / 2,    g = K u / (1 - K u).

    The distance doubles that error; rounding the two norms, their sum, the difference and the norms' scaling by
    1 - e adds less than 8 u (|x|^2 + |y|^2). Hence e = g + 8 u.
    """
    ku = values * _UNIT_ROUNDOFF
    return ku / (1 - ku) + 8 * _UNIT_ROUNDOFF


def scaled_norms(vectors: Array) -> Array:
    """(1 - e) |x|^2 of each row of a float32 array of shape (n, K), float32 of shape (n,)."""
    xp = _module(vectors)
    exact = xp.einsum("nk,nk->n", vectors, vectors, dtype=np.float64)
    return (exact * (1 - rounding_margin(vectors.shape[1]))).astype(np.float32)


def candidates(x: Array, y: Array, x_norms: Array, y_norms: Array, limit: int) -> tuple[Array, Array]:
    """Row numbers (into x, into y) of every pair whose squared distance may be at or under `limit`.

    x and y are centred float32 arrays of shape (m, K) and (n, K), the norms are their `scaled_norms`. No pair at or
    under the limit is missing: (1 - e)(|x|^2 + |y|^2) - 2 fl(x . y) <= |x - y|^2, by `rounding_margin`.
    """
    xp = _module(x)
    distance = x @ y.T
    distance *= np.float32(-2)
    distance += x_norms[:, None]
    distance += y_norms[None, :]
    # The limit rounded up to the next float32, as an integer above 2**24 need not be one.
    rows: tuple[Array, Array] = xp.nonzero(distance <= np.nextafter(np.float32(limit), np.float32(np.inf)))
    return rows


def exact_sse(x: Array, y: Array) -> Array:
    """Sums of squared differences of paired rows: uint8 (k, ...) and (k, ...) -> int64 (k,), exact."""
    difference = _vectors(x).astype(np.int16) - _vectors(y)
    return (difference.astype(np.int32) ** 2).sum(axis=1, dtype=np.int64)


def best_orientation(a: Array, b: Array, orientations: tuple[str, ...]) -> tuple[Array, Array]:
    """For paired images, uint8 (k, S, S, 3): the least SSE and the number of the orientation of b that gives it.

    Both int64 (k,). At a tie the first orientation in order.
    """
    xp = _module(a)
    sse = xp.stack([exact_sse(a, turned(b, name)) for name in orientations])
    return sse.min(axis=0), sse.argmin(axis=0)


def mse_block(a: Array, b: Array, orientations: tuple[str, ...]) -> Array:
    """The MSE matrix of two sets of images, uint8 (m, S, S, 3) and (n, S, S, 3) -> float64 (m, n); exact.

    Sums of at most S * S * 3 squared differences of bytes stay far below 2**53, so float64 products are exact.
    """
    xp = _module(a)
    x = _vectors(a).astype(np.float64)
    x_norms = xp.einsum("nk,nk->n", x, x)
    least = xp.full((len(a), len(b)), np.inf)
    for name in orientations:
        y = _vectors(turned(b, name)).astype(np.float64)
        y_norms = xp.einsum("nk,nk->n", y, y)
        xp.minimum(least, x_norms[:, None] + y_norms[None, :] - 2 * (x @ y.T), out=least)
    return least / x.shape[1]


def _vectors(images: Array) -> Array:
    """(n, S, S, 3) -> (n, S * S * 3), also for no images at all."""
    return images.reshape(len(images), math.prod(images.shape[1:]))


def _module(array: Array) -> Any:
    """The array module an array comes from."""
    if isinstance(array, np.ndarray):
        return np
    import cupy

    return cupy.get_array_module(array)
