"""What two matching pictures are to each other, by all of their pixels. Pure: arrays in, a verdict out.

Compression leaves the mean of a cell of 16 x 16 pixels nearly as it was, the brightness and the contrast of the whole,
and the contrast of details of some 4 pixels; what people do to a picture does not. Two ways to save or resize do more:
few colours, and single pixels picked where others take means. These are done to the other picture too, before the two
are told to be edited. The limits were measured (decisions/0021).
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from dupegrid.core.arrays import CHANNELS, Array, Float32s, Float64s, Ints, Pixels, turned
from dupegrid.images.recipe import in_colours, picked, shrunk

MOST_PIXELS: Final = 100_000_000  # of a picture that is looked at; one takes 300 to 400 MB
RULES: Final = 2  # raise it when the same two pictures would be told to be something else

_CELL: Final = 16  # pixels, a side; those at the right and at the bottom are up to half larger or smaller
_MOST_OF_CONTRAST: Final = 0.015
_MOST_OF_DETAIL: Final = (-0.25, 0.15)  # lost and gained
_MOST_MSE: Final = 600.0
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_OF_A_CHANNEL: Final = 0.33  # of a channel's difference, as colours are stored more coarsely than brightness
_ROWS_AT_ONCE_PIXELS: Final = 1 << 20
_FEW_COLOURS: Final = 256
_SAMPLE_PIXELS: Final = 1 << 16


class Verdict(NamedTuple):
    """A word of RELATIONS; the MSE at full resolution, where one lies on the other; why, where that needs saying."""

    relation: str
    full_mse: float | None = None
    reason: str | None = None


class Limits(NamedTuple):
    """The most by which two pictures may differ that are not edited, where that goes by how they were made."""

    cell: float
    colours: float
    brightness: float


_OF_ONE_SIZE: Final = Limits(4.0, 1.5, 0.4)
_SHRUNK: Final = Limits(6.0, 1.5, 0.8)
_OF_FEW_COLOURS: Final = Limits(6.0, 2.5, 0.8)


class Difference(NamedTuple):
    """How two pictures of one size differ."""

    mse: float  # of all values
    cell: float  # the largest difference of a cell's mean: in brightness, or a third of that in a channel or the alpha
    colours: float  # root of the mean square of the differences of all cells' means
    brightness: float  # by how much all of it is brighter
    contrast: float  # by how much of itself the contrast of the whole has grown
    detail: float  # by how much of itself the contrast of details has grown; negative: they are softer


def relation(a: Pixels, b: Pixels, orientation: str, proven: bool) -> Verdict:
    """What two matching pictures are to each other, upright, uint8 (h, w, 3), or (h, w, 4) with alpha.

    `orientation` is what is done to b; `proven` says that nothing but these pixels could tell the two apart.
    """
    if proven and np.array_equal(a, b):
        return Verdict("same_pixels", 0.0)
    b = turned(b[None], orientation)[0]
    size = a.shape[:2] == b.shape[:2]
    if not size and not _of_one_aspect(a, b):
        sizes = " and ".join(f"{len(x[0])} x {len(x)}" for x in (a, b))
        return Verdict("edited", None, f"cut or stretched: {sizes}")
    first, second = (a, b) if size else _of_one_size(a, b)
    found = difference(first, second)
    reason = _edit(found, _OF_ONE_SIZE if size else _SHRUNK)
    if reason and not size:
        first, second = _picked(a, b)
        if (of_picked := difference(first, second)).mse < found.mse:
            found, reason = of_picked, _edit(of_picked, _OF_ONE_SIZE)
    if reason and (coloured := _in_the_same_colours(first, second)):
        tone = {"brightness": found.brightness, "contrast": found.contrast}
        reason = _edit(difference(*coloured)._replace(**tone), _OF_FEW_COLOURS)
    if reason:
        return Verdict("edited", found.mse, reason)
    alike = "recompressed" if size else "resized"
    return Verdict(alike if orientation == "identity" else "turned", found.mse)


def difference(a: Pixels, b: Pixels) -> Difference:
    """How two pictures of one size differ, uint8 (h, w, 3), or (h, w, 4) with alpha; a few rows at a time."""
    rows, columns = _edges(len(a)), _edges(len(a[0]))
    at_once = max(1, _ROWS_AT_ONCE_PIXELS // (_CELL * len(a[0])))
    sums, first_sums, squares, detail, contrast = [], [], 0, 0.0, 0.0
    for first in range(0, len(rows) - 1, at_once):
        edges = rows[first : first + at_once + 1]
        x, y = (_with_alpha(part[edges[0] : edges[-1]], a.shape[2] != b.shape[2]) for part in (a, b))
        apart = np.subtract(y, x, dtype=np.int16)
        colours = apart[..., :CHANNELS]
        squares += int(np.einsum("ijk,ijk->", colours, colours, dtype=np.int64))
        along = np.stack([apart[i:j].sum(axis=0, dtype=np.int32) for i, j in pairwise(edges - edges[0])])
        sums.append(np.add.reduceat(along, columns[:-1], axis=1))
        of_a = np.stack([x[i:j, :, :CHANNELS].sum(axis=0, dtype=np.int32) for i, j in pairwise(edges - edges[0])])
        first_sums.append(np.add.reduceat(of_a, columns[:-1], axis=1))
        first_details, second_details = _details(x), _details(y)
        detail += float(np.vdot(second_details - first_details, first_details))
        contrast += float(np.vdot(first_details, first_details))
    area = np.diff(rows)[:, None, None] * np.diff(columns)[None, :, None]
    means = np.concatenate(sums) / area
    grey, first_grey = means[..., :CHANNELS] @ _GREY, np.concatenate(first_sums) / area @ _GREY
    return Difference(
        squares / (len(a) * len(a[0]) * CHANNELS),
        max(float(np.abs(grey).max()), _OF_A_CHANNEL * float(np.abs(means).max())),
        float(np.sqrt(np.square(means[..., :CHANNELS]).mean())),
        float(np.average(grey, weights=area[..., 0])),
        _growth(first_grey, grey),
        detail / (contrast + area.sum() / 100),  # not where there are hardly any
    )


def _edit(found: Difference, most: Limits) -> str | None:
    """What was done to a picture beside compressing it, for people."""
    if found.cell > most.cell:
        return f"a part differs by {found.cell:.1f}"
    if found.colours > most.colours:
        return f"its colours differ by {found.colours:.1f}"
    if abs(found.brightness) > most.brightness:
        return f"it is {'darker' if found.brightness < 0 else 'brighter'} by {abs(found.brightness):.1f}"
    if abs(found.contrast) > _MOST_OF_CONTRAST:
        return f"it has {abs(found.contrast):.1%} {'less' if found.contrast < 0 else 'more'} contrast"
    if not _MOST_OF_DETAIL[0] <= found.detail <= _MOST_OF_DETAIL[1]:
        return f"it is {abs(found.detail):.0%} {'softer' if found.detail < 0 else 'sharper'}"
    return f"its pixels differ by an MSE of {found.mse:.0f}" if found.mse > _MOST_MSE else None


def _of_one_aspect(a: Pixels, b: Pixels) -> bool:
    """Whether one is the other shrunk, its sides rounded up or down."""
    height, width, its_height, its_width = len(a), len(a[0]), len(b), len(b[0])
    return abs(width * its_height - its_width * height) <= max(width + height, its_width + its_height)


def _of_one_size(a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
    """Both at the size of the smaller one."""
    height, width = min(a.shape[:2], b.shape[:2])
    a, b = (x if x.shape[:2] == (height, width) else shrunk(np.ascontiguousarray(x), width, height) for x in (a, b))
    return a, b


def _picked(a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
    """Both at the size of the smaller one, for which single pixels of the larger one are picked.

    Those that lie nearest to it of the ways of programs: the centre of each, as Pillow rounds and exactly, or an edge.
    """
    larger, smaller = (a, b) if len(a) * len(a[0]) > len(b) * len(b[0]) else (b, a)
    rows, columns = (_picks(larger.shape[axis], smaller.shape[axis]) for axis in (0, 1))
    step = 1 + smaller.shape[0] * smaller.shape[1] // _SAMPLE_PIXELS
    few = smaller[::step, :, :CHANNELS].astype(np.int16)
    apart = [
        np.square(larger[i[::step, None], j, :CHANNELS] - few, dtype=np.int32).sum()
        for i, j in zip(rows, columns, strict=True)
    ]
    nearest = int(np.argmin(apart))
    shrunk_to_it = larger[rows[nearest][:, None], columns[nearest]]
    return (shrunk_to_it, smaller) if larger is a else (smaller, shrunk_to_it)


def _picks(length: int, wanted: int) -> list[Ints]:
    """Which pixels of a line are picked, by each way: int64 (wanted,)."""
    place = np.arange(wanted)
    centre = (2 * place + 1) * length // (2 * wanted)
    return [picked(length, wanted), centre, place * length // wanted, -(-place * length // wanted)]


def _in_the_same_colours(a: Pixels, b: Pixels) -> tuple[Pixels, Pixels] | None:
    """Both in the colours of the one that has few; None where both or none have, or one has alpha."""
    if a.shape != b.shape or a.shape[2] != CHANNELS:
        return None
    of_a, of_b = _few_colours(a), _few_colours(b)
    if of_a is not None and of_b is None:
        return a, in_colours(b, of_a)
    return (in_colours(a, of_b), b) if of_b is not None and of_a is None else None


def _few_colours(pixels: Pixels) -> Pixels | None:
    """The colours of a picture that has few: uint8 (k, 3)."""
    values = pixels.reshape(-1, CHANNELS).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    for some in (values[:: 1 + len(values) // _SAMPLE_PIXELS], values):
        ordered = np.sort(some)  # np.unique takes 30 times as long where there are many
        colours = ordered[np.append(True, ordered[1:] != ordered[:-1])]
        if len(colours) > _FEW_COLOURS:
            return None
    return np.stack([colours >> 16, colours >> 8, colours], axis=1).astype(np.uint8)


def _growth(before: Float64s, grown: Float64s) -> float:
    """The slope of what was added on what was there, hardly any where that is nearly flat."""
    apart = before - before.mean()
    return float((apart * grown).mean() / (np.square(apart).mean() + 25))


def _edges(length: int) -> Ints:
    """Where cells begin, and where the last one ends: int64 (k + 1,)."""
    return np.array([*range(0, max(1, length - _CELL // 2), _CELL), length])


def _with_alpha(pixels: Pixels, lacking: bool) -> Pixels:
    """The same with an alpha of 255, where one of the two lacks it."""
    if not lacking or pixels.shape[2] > CHANNELS:
        return pixels
    return np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)


def _details(pixels: Pixels) -> Float32s:
    """By how much cells of 2 x 2 pixels are brighter than those of 4 x 4 around them: float32 (k,)."""
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    fine = _quartered(pixels[:height, :width, :CHANNELS].astype(np.uint16)) @ _GREY / 4
    coarse = _quartered(fine) / 4
    return np.concatenate([(fine[i::2, j::2] - coarse).ravel() for i in (0, 1) for j in (0, 1)])


def _quartered(values: Array) -> Array:
    """The sums of 2 x 2 values each."""
    rows = values[0::2] + values[1::2]
    return rows[:, 0::2] + rows[:, 1::2]
