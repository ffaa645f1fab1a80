"""Pairs -> stars: each image with the best image that it matches. Pure: arrays in, arrays out.

The pairs are gone through in batches, several times, and a window of them is held, so that memory grows with the images
alone.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Bools, Float64s, Ints

_NONE, _BESIDE = -1, -2  # in place of a centre: in no star yet, and in none to come
_AT_ONCE: Final = 1 << 16  # numbers of Python's, each of 32 bytes
_WORDS = np.dtype("<i8"), np.dtype("<i4")  # two places of a pair in one number, and the same as two


Places = npt.NDArray[np.int32]  # of sets of equal images, the best first


class Pairs(NamedTuple):
    """Pairs that are near enough: batches (a, b, score), each (k,), in no order, as often as one goes through them."""

    batches: Iterable[tuple[Ints, Ints, Float64s]]
    window_bytes: int


def matched(pairs: Pairs, stands_for: Ints) -> Ints:
    """The ids of all images that some pairs are of, ascending: those named, and those that these stand for.

    `stands_for` is by id the representative of each image, which may be itself.
    """
    named = np.zeros(len(stands_for), bool)
    for a, b, _ in pairs.batches:
        named[a] = named[b] = True
    return np.flatnonzero(named | named[stands_for])


def keepers_of(image: Ints, rank: Ints, pairs: Pairs, stands_for: Ints, copies: Pairs | None = None) -> Ints:
    """The keeper of each image: ids (k,) -> ids (k,).

    `image` is ascending, `rank` the place of each among them as a keeper, and `pairs` are of these images. The best
    image that is in no star yet becomes the keeper of those that it matches and that are in none: the first maximal
    independent set in the order of the ranks. One that matches only images with other keepers goes with the nearest of
    these, if there are several with the best. Where `copies` are given, some of the pairs, stars are made of these
    first; what is in none then goes with the nearest that it matches, or stars are made of it by all pairs; what
    matches none but such goes with the nearest of these.
    """
    node, count = _numbered(stands_for, image)
    by_rank = np.empty(len(image), np.int32)
    by_rank[rank] = np.arange(len(image))
    best = np.empty(count, np.int32)
    best[node[by_rank[::-1]]] = by_rank[::-1]  # the last one that is put there is the best
    order = np.argsort(rank[best])  # sets of equal images go by their places in this, the best first
    best = best[order]
    place = np.empty(count, np.int32)
    place[order] = np.arange(count)
    place_of = np.full(len(stands_for), -1, np.int32)
    place_of[image] = place = place[node]
    del node, order, by_rank
    centre = np.full(count, _NONE, np.int32)
    if copies is not None:
        _join(centre, place_of, copies)
        _leave_beside(centre, place_of, pairs)
    inside = _join(centre, place_of, pairs)
    keeper = centre[place]
    # Of a set that is a centre and whose images do not match each other, only the best is its keeper's.
    of_itself = (keeper == place) & ~inside[place] & (best[place] != np.arange(len(image)))
    alone = (keeper < 0) | of_itself
    if alone.any():
        wanted = np.zeros(count, bool)
        wanted[place[alone]] = True
        nearest = _nearest(wanted, centre >= 0, place_of, pairs)
        left = centre[nearest] < 0  # what matches only sets beside stars goes with the nearest of these
        if left.any():
            nearest[left] = nearest[_nearest(left, ~left, place_of, pairs)[left]]
        keeper[alone] = centre[nearest[place[alone]]]
    return image[best[keeper]]


def _numbered(stands_for: Ints, image: Ints) -> tuple[Places, int]:
    """The number of the set that each image is of, counted from 0, and how many sets there are."""
    named = np.zeros(len(stands_for), bool)
    named[stands_for[image]] = True
    number = np.cumsum(named, dtype=np.int32) - np.int32(1)
    return number[stands_for[image]], int(np.count_nonzero(named))


def _join(centre: Places, place_of: Places, pairs: Pairs) -> Bools:
    """Make stars of the sets that are in none: `centre`, (n,), is the set whose best image is the keeper of each.

    Negative where all that a set matches have another. Returns which sets match themselves, (n,). Sets go by their
    places, and those that match themselves do so never in part (see set_keys). A set is asked after all better ones, so
    only pairs with worse ones say anything of it then: the pairs are taken by the place of the better one, window by
    window.
    """
    count = len(centre)
    inside = np.zeros(count, bool)
    worse = np.zeros(count, np.int32)  # how many it matches
    for better, other in _places(place_of, pairs):
        inside[better[better == other]] = True
        np.add.at(worse, better[better != other], 1)
    most = max(1, pairs.window_bytes // _WORDS[0].itemsize)
    first = 0
    while first < count:
        before = np.cumsum(worse[first:], dtype=np.int64)
        last = first + max(1, int(np.searchsorted(before, most, side="right")))
        held = np.empty(before[last - 1 - first], _WORDS[0])
        filled = 0
        for better, other in _places(place_of, pairs) if len(held) else ():
            here = (better >= first) & (better < last) & (better != other)
            some = better[here].astype(np.int64) << 32 | other[here]
            held[filled : filled + len(some)] = some
            filled += len(some)
        held.sort()
        _claim(held.view(_WORDS[1])[::2], np.append(0, np.cumsum(worse[first:last])), first, centre)
        first = last
    left = np.flatnonzero(inside & (centre < 0))
    centre[left] = left
    return inside


def _leave_beside(centre: Places, place_of: Places, pairs: Pairs) -> None:
    """Say of the sets that are in no star and match one that is in one that no star is to be made of them."""
    beside = np.zeros(len(centre), bool)
    for x, y in _places(place_of, pairs):
        beside[x[centre[y] >= 0]] = beside[y[centre[x] >= 0]] = True
    centre[beside & (centre < 0)] = _BESIDE


def _claim(others: Places, ends: Ints, first: int, centre: Places) -> None:
    """Make a centre of each set from `first` on that is in no star yet and matches one of the `others` in none.

    Those of a set begin where those of the set before it end.
    """
    asked = first + np.flatnonzero(np.diff(ends))
    some = (asked[start : start + _AT_ONCE].tolist() for start in range(0, len(asked), _AT_ONCE))
    for place in chain.from_iterable(some):
        if centre[place] == _NONE:
            near = others[ends[place - first] : ends[place - first + 1]]
            near = near[centre[near] == _NONE]
            if len(near):
                centre[near] = centre[place] = place


def _places(place_of: Places, pairs: Pairs) -> Iterator[tuple[Ints, Ints]]:
    """The places of the sets of each pair, the better one first, batch by batch."""
    for a, b, _ in pairs.batches:
        x, y = place_of[a], place_of[b]
        yield np.minimum(x, y), np.maximum(x, y)


def _nearest(wanted: Bools, has_keeper: Bools, place_of: Places, pairs: Pairs) -> Ints:
    """The set that each wanted one is nearest to, of those that have a keeper, the best of several; else itself."""
    least, nearest = np.full(len(wanted), np.inf), np.arange(len(wanted))
    for a, b, score in pairs.batches:
        x, y = np.concatenate([place_of[a], place_of[b]]), np.concatenate([place_of[b], place_of[a]])
        rows = np.flatnonzero(wanted[x] & has_keeper[y] & (x != y))
        keep_nearest(least, nearest, x[rows], y[rows], score[rows % len(score)])
    return nearest


def keep_nearest(least: Float64s, nearest: Ints, x: Ints, y: Ints, score: Float64s) -> None:
    """Put into `nearest[x]` the y of the lowest score, of several the lowest y, where it is under `least[x]`, or is it.

    `least` and `nearest` are (n,), the pairs with their scores (k,).
    """
    order = np.lexsort((y, score, x))
    order = order[np.diff(x[order], prepend=-1) != 0]
    x, y, score = x[order], y[order], score[order]
    nearer = (score < least[x]) | ((score == least[x]) & (y < nearest[x]))
    least[x[nearer]], nearest[x[nearer]] = score[nearer], y[nearer]
