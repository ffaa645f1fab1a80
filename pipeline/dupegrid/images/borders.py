"""Pixels -> the part of them within plain borders: frames, bars above and below a film, margins of a scan.

A side has a border where its outermost rows are of one colour and the picture begins sharply below them. Where all four
sides begin with one colour, that is a frame, as thick on each side as on the one where it is thinnest, whatever the
picture begins with on the others. What is within is looked at in the same way, as frames are put around frames.
"""

from typing import Final, NamedTuple

import numpy as np

from dupegrid.core.arrays import Float64s, Pixels

BORDERS: Final = 2  # raise it when the same picture would be cut otherwise: runs with trim are then made again
_CELLS: Final = 64  # a row, at least, where it has as many pixels: their means have neither its noise nor its dust
_NEAR: Final = 16  # of 255 in every channel: what saving as JPEG does to a plain colour
_MIXED: Final = 64  # the same where it has mixed the border with the picture
_PLAIN: Final = 0.9  # a row is part of a border where so large a share of it is near the border's colour,
_ALL: Final = 0.98  # and so large a one is that or mixed,
_EDGE: Final = 0.5  # and the picture begins at a row of which so much differs from it at once: a sky has no such edge
_BLURRED: Final = 16  # rows in which saving as JPEG may have mixed the two: a block of its colours
_FRAMES: Final = 8  # one in another, at most
_LEAST_LEFT: Final = 0.2  # of a side: otherwise it is no border
_LEAST_CUT: Final = 0.01  # of a side: a line of a pixel or two, which one copy has and another not, is no border either


class _Side(NamedTuple):
    colour: Float64s
    plain: int  # so many rows are of it; all of a picture without any border
    edge: int  # the row at which the picture begins sharply below these; 0: nowhere


def inner_box(pixels: Pixels, factors: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The left, upper, right and lower bound of what plain borders enclose; all of the picture where there are none.

    Of a picture of so many pixels, `size`, whose cells of `factors` pixels, across and down, are `pixels`, (h, w, 3).
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _ in range(_FRAMES):
        cut = _outermost(pixels[top:bottom, left:right])
        across, down = right - left - cut[0] - cut[2], bottom - top - cut[1] - cut[3]
        if not any(cut) or across < _LEAST_LEFT * width or down < _LEAST_LEFT * height:
            break
        left, top, right, bottom = left + cut[0], top + cut[1], right - cut[2], bottom - cut[3]
    least_across, least_down = _LEAST_CUT * width, _LEAST_CUT * height
    return (
        left * factors[0] if left >= least_across else 0,
        top * factors[1] if top >= least_down else 0,
        min(right * factors[0], size[0]) if width - right >= least_across else size[0],
        min(bottom * factors[1], size[1]) if height - bottom >= least_down else size[1],
    )


def _outermost(pixels: Pixels) -> tuple[int, int, int, int]:
    """How thick the outermost border is at the left, the top, the right and the bottom."""
    columns = pixels.swapaxes(0, 1)
    sides: list[_Side] = []
    for rows in (pixels, columns, columns[::-1], pixels[::-1]):
        sides.append(_side(rows))
        if sides[-1].plain == len(rows):
            return 0, 0, 0, 0
    top, left, right, bottom = sides
    thinnest = min(side.plain for side in sides)
    edges = [side.edge for side in sides if thinnest <= side.edge < thinnest + _BLURRED]
    if thinnest and edges and np.ptp([side.colour for side in sides], axis=0).max() <= _NEAR:
        return (min(edges),) * 4
    return left.edge, top.edge, right.edge, bottom.edge


def _side(pixels: Pixels) -> _Side:
    """The border above a picture."""
    rows = [_cells(pixels[0])]
    colour, plain = np.median(rows[0], axis=0), 0
    for number in range(len(pixels)):
        row = _cells(pixels[number])
        bordered = _alike(row, colour, _MIXED) >= _ALL
        if plain == number and bordered and _alike(row, colour, _NEAR) >= _PLAIN:
            plain += 1
        elif not plain or number == plain + _BLURRED:
            break
        # the row between the two may be a mixture of both
        elif _alike(row, rows[max(number - 2, plain - 1)], _NEAR) <= 1 - _EDGE:
            return _Side(colour, plain, number)
        elif not bordered:
            break
        rows[number:] = [row]
    return _Side(colour, plain, 0)


def _cells(row: Pixels) -> Float64s:
    """The means of as many pixels each along a row, (w, 3), that there are 64 and more where it has as many."""
    many = len(row) // _CELLS or 1
    means: Float64s = row[: len(row) // many * many].reshape(-1, many, 3).mean(axis=1)
    return means


def _alike(row: Float64s, other: Float64s, within: int) -> float:
    return float((np.abs(row - other).max(axis=1) <= within).mean())
