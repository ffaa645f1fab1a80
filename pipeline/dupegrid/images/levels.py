"""The cosines of a thumbnail, the slowest waves first: its coordinates in an orthonormal basis, which turn with it.

A cosine is the inner product of a picture, less 128, with a wave down times a wave across times a mixture of the
channels: light, red less blue, green less both. Waves are those of the discrete cosine transform (type II), which a
turn or a mirror only swaps and negates; so the cosines of a turned picture are those of the picture, in another order
and with other signs. They are kept as whole numbers of a unit; pairs/bounds.py says what they bound. levels.zarr holds
one array of them, `COSINES`, with the checksums of thumbnails that are read alone; of each further look at a picture
it holds one of its own, and the thumbnails.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Array, Float32s, Ints, Pixels, array_module, turned
from dupegrid.core.values import WHOLE
from dupegrid.storage.arrays import Arrays, Shapes
from dupegrid.storage.chunked import row_sums

COSINES: Final = "cosines"
CROPS: Final = "thumbs"  # of a look that is not of the whole picture
_PREFIXES: Final = (24, 96, 192)  # at most; the last is how many are kept
_FASTEST: Final = 16  # half waves down or across, fewer than
_CHANNELS_COST: Final = (1, 6, 16)  # so much slower a wave of light is that varies as much, in photos
_LARGEST: Final = 32_000  # units that a picture's norm is at or under: int16 holds them with room for rounding
_MIXTURES: Final = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
_AT_ONCE: Final = 32  # images whose values stay in the cache
_CHECK_COLUMNS: Final = 4  # int16, of an image: the `row_sums` of its thumbnail, uint64
_UNIT_ROUNDOFF: Final = 2.0**-24

Cosines = npt.NDArray[np.int16]
Checks = npt.NDArray[np.uint64]


def of_look(name: str, look: str) -> str:
    """The name of an array as it is of a look."""
    return name if look == WHOLE else f"{name}_{look}"


def looks_of(levels: Arrays) -> tuple[str, ...]:
    """The looks that levels.zarr has arrays of."""
    crops = (name.partition("_") for name in levels.names)
    return WHOLE, *sorted((look for name, _, look in crops if name == CROPS), reverse=True)


def level_shapes(images: int, side: int, looks: Sequence[str] = (WHOLE,)) -> Shapes:
    """The arrays of levels.zarr for so many images with thumbnails of a side."""
    shapes: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {}
    for look in looks:
        shapes[of_look(COSINES, look)] = (images, prefixes(side)[-1] + _CHECK_COLUMNS), np.int16
        if look != WHOLE:
            shapes[of_look(CROPS, look)] = (images, side, side, CHANNELS), np.uint8
    return shapes


def bytes_of(shapes: Shapes) -> int:
    """What arrays of these shapes and dtypes take together."""
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())


def stored_levels(thumbs: Pixels, look: str = WHOLE) -> dict[str, npt.NDArray[Any]]:
    """Rows of the arrays of levels.zarr for thumbnails of a look, uint8 (n, S, S, 3)."""
    rows = np.concatenate([cosines(thumbs), row_sums(thumbs)[:, None].view(np.int16)], axis=1)
    return {of_look(COSINES, look): rows} | ({} if look == WHOLE else {of_look(CROPS, look): thumbs})


def row_checks(rows: Cosines) -> Checks:
    """The checksums in rows of levels.zarr, of their thumbnails: uint64 (n,)."""
    return np.ascontiguousarray(rows[:, -_CHECK_COLUMNS:]).view(np.uint64)[:, 0]


def unit(side: int) -> float:
    """What one of the units of cosines is, in values of a thumbnail."""
    return 128 * math.sqrt(CHANNELS) * side / _LARGEST


def rounding(side: int) -> float:
    """How far at most the cosines that are kept of a thumbnail are from its true ones, as a vector, in units.

    Each is rounded to a whole number: by sqrt(K) / 2 in all. Before, with g(t) = t u / (1 - t u), a sum of t float32
    products, one factor of which was rounded, is off by at most g(t + 1) times the norms of what is multiplied (Higham,
    Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), in any order. The waves have norm 1. So for
    a picture X the 16 waves down are off by at most 4 g(S + 1) |X| in all, the 48 across by 7 g(3 S + 1) as much, and
    |X| is at most _LARGEST.
    """
    steps = (4 * (side + 1) + 7 * (CHANNELS * side + 1)) * _UNIT_ROUNDOFF
    return math.sqrt(prefixes(side)[-1]) / 2 + 1.01 * steps * _LARGEST


@cache
def prefixes(side: int) -> tuple[int, ...]:
    """How many cosines are compared first, then, and at last: each takes in both of what a quarter turn swaps."""
    down, across, mixture = _waves(side)

    def whole(count: int) -> int:
        last, next_one = count - 1, count
        if count >= len(down):
            return len(down)
        swapped = (down[last], across[last], mixture[last]) == (across[next_one], down[next_one], mixture[next_one])
        return count - int(swapped)

    return tuple(whole(count) for count in _PREFIXES)


@cache
def turning(side: int, orientation: str) -> tuple[Ints, Cosines]:
    """How cosines turn: those of the turned picture are `cosines[:, columns] * signs`; int64 (K,), int16 (K,)."""
    corner = turned(np.arange(4).reshape(1, 2, 2, 1), orientation)[0, :, :, 0]
    swaps, upside_down, mirrored = abs(int(corner[0, 1] - corner[0, 0])) == 2, corner[0, 0] >= 2, corner[0, 0] % 2
    down, across, mixture = (wave[: prefixes(side)[-1]] for wave in _waves(side))
    of_down, of_across = (across, down) if swaps else (down, across)  # the wave that each is made of
    place = {wave: k for k, wave in enumerate(zip(down, across, mixture, strict=True))}
    columns = [place[wave] for wave in zip(of_down, of_across, mixture, strict=True)]
    odd = of_down * bool(upside_down) + of_across * bool(mirrored)
    return np.array(columns, np.int64), np.where(odd % 2, -1, 1).astype(np.int16)


def turned_cosines(cosines: Array, side: int, name: str) -> Array:
    """The cosines of turned pictures, of those of these: int16 (n, K), K one of `prefixes`, on any device."""
    if name == ORIENTATIONS[0]:
        return cosines
    xp = array_module(cosines)
    columns, signs = (xp.asarray(some[: cosines.shape[1]]) for some in turning(side, name))
    return xp.take(cosines, columns, axis=1) * signs


def turned_columns(side: int, orientation: str) -> Ints:
    """Which values make up those of a turned thumbnail: `thumbs.reshape(n, -1)[:, turned_columns(S, o)]`."""
    columns: Ints = turned(np.arange(side * side * CHANNELS).reshape(1, side, side, CHANNELS), orientation).ravel()
    return columns


def cosines(thumbs: Pixels) -> Cosines:
    """uint8 (n, S, S, 3) -> the cosines that are kept, in units: int16 (n, K)."""
    side, count = thumbs.shape[1], len(thumbs)
    down, across, kept = _operands(side)
    out = np.empty((count, len(kept)), np.int16)
    for start in range(0, count, _AT_ONCE):
        values = (thumbs[start : start + _AT_ONCE] ^ np.uint8(128)).view(np.int8).astype(np.float32)  # less 128
        waves = (down @ values.reshape(len(values), side, side * CHANNELS)).reshape(-1, side * CHANNELS) @ across
        out[start : start + _AT_ONCE] = np.rint(waves.reshape(len(values), -1).take(kept, axis=1))
    return out


@cache
def _waves(side: int) -> tuple[Ints, Ints, Ints]:
    """Of each cosine, in their order, its half waves down and across, and its mixture of channels: int64 (all,) each.

    What a quarter turn swaps lies beside each other.
    """
    fastest = min(side, _FASTEST)
    down, across, mixture = (some.ravel() for some in np.indices((fastest, fastest, CHANNELS)))
    cost = (down**2 + across**2 + 2) * np.array(_CHANNELS_COST)[mixture]
    order = np.lexsort((down, np.minimum(down, across), mixture, cost))
    return down[order], across[order], mixture[order]


@cache
def _operands(side: int) -> tuple[Float32s, Float32s, Ints]:
    """What values are multiplied with from the left, (W, S), from the right, (S * 3, W * 3), and what is kept of it."""
    fastest = min(side, _FASTEST)
    waves = np.cos(np.outer(np.arange(fastest), 2 * np.arange(side) + 1) * math.pi / (2 * side)) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    mixtures = np.array(_MIXTURES) / np.linalg.norm(_MIXTURES, axis=1)[:, None]
    down, across, mixture = (wave[: prefixes(side)[-1]] for wave in _waves(side))
    right = np.kron(waves, mixtures).T / unit(side)
    return waves.astype(np.float32), right.astype(np.float32), (down * fastest + across) * CHANNELS + mixture
