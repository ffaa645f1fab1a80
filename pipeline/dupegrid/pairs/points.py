"""Points as a device multiplies them: rows whose inner product is below zero for every pair that may be near.

Tensor cores take float16, so a point x is rounded to x' first; e = |x - x'| is known. Of points within R of each other

    |x' - y'|^2  <=  (R + e_x + e_y)^2  <=  (R^2 / 2 + 2 R e_x + 2 e_x^2)  +  (R^2 / 2 + 2 R e_y + 2 e_y^2),

a sum of what each knows alone, a_x + a_y. So with n = |x'|^2 - a, in three float16, the inner product of the rows
(-2 x', n_x, 1) and (y', 1, n_y) is at or under zero. Its 32 terms are exact in float32, and their magnitudes sum to at
most 2.01 (m_x + m_y), m = |x'|^2 + a. Tensor cores add 8 or 16 terms to the sum so far at once, cut each off below
2^-24 of the largest (on Ampere; 2^-25 later), and the new sum to 24 bits (Fasi, Higham, Mikaitis and Pranesh, Numerical
behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021; Xie, Wang, Yang and Yang, MMA-Sim,
arXiv:2511.10909, 2025): in all by less than 11 2^-22 of the magnitudes. Taken here is 63 2^-22 of them, by which each n
is made smaller: 128 m 2^-22; and by 2^-12 for parts of it that are no normal float16. float32 summed in any order loses
less.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

from dupegrid.core.arrays import Array, Ints, array_module, has_tensor_cores, on_host
from dupegrid.core.errors import UsageError

STEP: Final = 64  # sides of blocks are multiples of it
WIDTH: Final = 32  # values of a row
_PARTS: Final = 3  # float16 whose sum is a norm
_SCALE: Final = 2.0**-8  # of coordinates, so that squared norms, of up to 32,000 units squared, are float16
_SLACK: Final = 4 * WIDTH * 2.0**-22
_SMALL: Final = 2.0**-12
_FAR: Final = 65504.0  # the largest float16; a norm that no other makes up for
_LANES: Final = 32  # rows of products of which the least is looked at first
_THREADS: Final = 256


def operands(points: Array, starts: Ints, side: int, within: float) -> tuple[Array, Array]:
    """Blocks of points, filled up to `side` with points that are near nothing, on the left and the right of a product.

    (n, K) whole numbers on any device, K at most 26, and the starts of B blocks and their end -> (B, side, 32) twice
    there, float16 where it has tensor cores, else float32 with the same values. `within` is how far apart near points
    are at most.
    """
    xp, (count, columns) = array_module(points), points.shape
    exact = xp.astype(points, xp.float64) * _SCALE
    rounded = _float16s(exact)
    off, reach = xp.sqrt(xp.sum((exact - rounded) ** 2, axis=1)), within * _SCALE
    squared, allowed = xp.sum(rounded**2, axis=1), reach * reach / 2 + 2 * reach * off + 2 * off**2
    norms = xp.concat([squared - allowed - _SLACK * (squared + allowed) - _SMALL, xp.asarray([_FAR])])
    parts = []
    for _ in range(_PARTS):
        parts.append(_float16s(norms)[:, None])
        norms = norms - parts[-1][:, 0]
    rounded = xp.concat([rounded, xp.zeros((1, columns), dtype=xp.float64)])  # the last row is of what fills blocks up
    blank = xp.zeros((count + 1, WIDTH - 2 * _PARTS - columns), dtype=xp.float64)
    ones = xp.ones((count + 1, _PARTS), dtype=xp.float64)
    kind = xp.float16 if has_tensor_cores(xp) else xp.float32
    block = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    rows = np.full((len(starts) - 1) * side, count)
    rows[block * side + np.arange(count) - starts[block]] = np.arange(count)

    def laid_out(*values: Array) -> Array:
        all_rows = xp.astype(xp.concat(values, axis=1), kind)
        return xp.reshape(xp.take(all_rows, xp.asarray(rows), axis=0), (-1, side, WIDTH))

    return laid_out(-2 * rounded, blank, *parts, ones), laid_out(rounded, blank, ones, *parts)


def _float16s(values: Array) -> Array:
    """Values of at most 65,504 rounded to those of float16, as float64: Veltkamp's splitting, then no finer than it."""
    large = values * (2.0**42 + 1)
    return array_module(values).round((large - (large - values)) * 2.0**24) / 2.0**24


def near(left: Array, right: Array, rows: Array, columns: Array) -> tuple[Array, Array, Array]:
    """Pairs of points that may be near each other, in squares: blocks `rows[s]` of the left, `columns[s]` of the right.

    int64 (k,) each: the square, and the places in its two blocks.
    """
    xp = array_module(left)
    if left.dtype == xp.float32:
        return _by_products(
            xp.matmul(xp.take(left, rows, axis=0), xp.permute_dims(xp.take(right, columns, axis=0), (0, 2, 1)))
        )
    side = left.shape[1]
    bits = xp.empty((rows.shape[0], side // 16, side // 8, 4), dtype=xp.uint32)
    warps = _THREADS // 32
    grid = rows.shape[0], -(-side // (STEP * warps))
    _kernel(xp)(grid, (_THREADS,), (left, right, rows, columns, xp.int32(side), bits))
    return _by_bits(bits)


def check(xp: Any) -> None:
    """UsageError where products of an array module are coarser than is said above.

    A library may be told, by one of many switches, to round float32 to fewer bits. Then of points that are near each
    other and far from the origin some come out farther apart than they are.
    """
    random = np.random.default_rng(0)
    points = np.round(random.normal(4000, 40, (8 * STEP, 24))).astype(np.int16)
    wide = points.astype(np.float64)
    apart = np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(axis=2))
    within = float(np.median(apart))
    starts = np.arange(0, len(points) + 1, STEP)
    left, right = operands(xp.asarray(points), starts, STEP, within)
    rows, columns = (xp.asarray(some.ravel()) for some in np.indices((8, 8)))
    square, x, y = (on_host(some) for some in near(left, right, rows, columns))
    found = np.zeros(apart.shape, bool)
    found[square // 8 * STEP + x, square % 8 * STEP + y] = True
    if not found[apart <= within].all():
        raise UsageError(f"{xp.__name__} rounds float32 products here, and pairs would be missed: have it not do so")


def _by_products(products: Array) -> tuple[Array, Array, Array]:
    """Where products are below zero, in the order of memory: float32 (k, side, side) -> int64 (places,) three times.

    The least of each `_LANES` values of a column first: it takes one pass over the products, and little is left.
    """
    xp, side = array_module(products), products.shape[2]
    lanes = xp.reshape(products, (products.shape[0] * side // _LANES, _LANES, side))
    (found,) = xp.nonzero(xp.reshape(xp.min(lanes, axis=1) < 0, (-1,)))
    begin = found // side * (_LANES * side) + found % side
    places = xp.reshape(begin[:, None] + xp.arange(_LANES)[None, :] * side, (-1,))
    places = places[xp.take(xp.reshape(products, (-1,)), places) < 0]
    return places // side**2, places // side % side, places % side


def _by_bits(bits: Array) -> tuple[Array, Array, Array]:
    """The same of what the kernel writes: uint32 (k, side / 16, side / 8, 4)."""
    xp, eighths = array_module(bits), bits.shape[2]
    words = xp.reshape(bits, (-1,))
    (found,) = xp.nonzero(words)
    which, lane = xp.nonzero(
        xp.take(words, found)[:, None] & xp.left_shift(xp.uint32(1), xp.arange(32, dtype=xp.uint32))
    )
    word = xp.take(found, which)
    place, word = word // 4, word % 4
    x = place // eighths % bits.shape[1] * 16 + lane // 4 + word // 2 * 8
    return place // (eighths * bits.shape[1]), x, place % eighths * 8 + lane % 4 * 2 + word % 2


@cache
def _kernel(xp: Any) -> Any:
    text = files(__package__).joinpath("near_bits.cu").read_text(encoding="utf-8")
    return xp.RawKernel(text, "near_bits")
