"""Pictures turned into one form: then most of the other orientations of a picture can be near no other picture.

Of all orientations of a picture the canonical one has the largest score s(p) = 2 p_1 + p_2, where p_1 and p_2 are the
cosines of one half wave across and one down: its light lies to the left, rather above. Then s(g a) <= s(a) for every
canonical a and every orientation g. So if a is within w of the canonical b turned by R, with e = R b - a,

    s(g R b) - s(R b)  =  s(g a) - s(a) + s(g e) - s(e)  <=  |s g - s| w    for every g,               (1)

where |s g - s| is the norm of the coefficients of that form. Of a picture that one g contradicts, R is not needed. All
of this is said of whole numbers that turn exactly, so `w` is `bounds.radius`, and nothing is rounded.
"""

from functools import cache
from typing import Final

import numpy as np

from dupegrid.core.arrays import Bools, Ints, composed, inverse
from dupegrid.images.levels import Cosines, turned_cosines, turning

_ACROSS, _DOWN = 1, 2  # the columns of the two cosines, at every side
_WEIGHTS: Final = np.array([2, 1])


def make_canonical(cosines: Cosines, side: int, names: tuple[str, ...]) -> Ints:
    """Put pictures, int16 (n, K), into their canonical form; under which of the orientations that is, int64 (n,)."""
    home: Ints = _scores(cosines, side, names).argmax(axis=0)
    for number, name in enumerate(names[1:], start=1):
        mine = np.flatnonzero(home == number)
        cosines[mine] = turned_cosines(cosines[mine], side, name)
    return home


def needed(cosines: Cosines, side: int, names: tuple[str, ...], within: float) -> Bools:
    """By (1), whether a canonical picture under each orientation can be that near another: bool (orientations, n)."""
    scores, keep = _scores(cosines, side, names), np.ones((len(names), len(cosines)), bool)
    for number, norms in enumerate(_norms(side, names)):
        for score, norm in zip(scores, norms, strict=True):
            keep[number] &= score - scores[number] <= norm * within
    return keep


@cache
def _norms(side: int, names: tuple[str, ...]) -> list[list[float]]:
    """By (1), for an orientation and each other one: what a difference of pictures is multiplied by at most."""
    return [
        [float(np.linalg.norm(_WEIGHTS @ _turning(side, composed(inverse(name), other)) - _WEIGHTS)) for other in names]
        for name in names
    ]


@cache
def as_found(names: tuple[str, ...]) -> Ints:
    """The orientation of b relative to a, by those under which a is canonical, the canonical b is near it, b is so.

    |A a - R B b| = |a - A^-1 R B b|. Places in `names`: int64 (orientations, orientations, orientations).
    """

    def place(a: str, turn: str, b: str) -> int:
        return names.index(composed(composed(b, turn), inverse(a)))

    return np.array([[[place(a, turn, b) for b in names] for turn in names] for a in names])


def _scores(cosines: Cosines, side: int, names: tuple[str, ...]) -> Ints:
    """The scores of pictures under each orientation: int64 (orientations, n)."""
    values = cosines[:, [_ACROSS, _DOWN]].astype(np.int64)
    return np.stack([values @ (_WEIGHTS @ _turning(side, name)) for name in names])


def _turning(side: int, name: str) -> Ints:
    """What an orientation does to the two cosines: int64 (2, 2)."""
    columns, signs = turning(side, name)
    both = [_ACROSS, _DOWN]
    matrix: Ints = (columns[both, None] == both) * signs[both, None].astype(np.int64)
    return matrix
