"""Pairs -> stars: each image with the best image that it matches. Pure: arrays in, arrays out."""

import numpy as np

from dupegrid.core.arrays import Bools, Float64s, Ints


def matched(a: Ints, b: Ints, stands_for: Ints) -> Ints:
    """The ids of all images that some pairs (a, b) are of, ascending: those named, and those that these stand for.

    `stands_for` is by id the representative of each image, which may be itself.
    """
    named = np.zeros(len(stands_for), bool)
    named[a] = named[b] = True
    return np.flatnonzero(named | named[stands_for])


def keepers_of(image: Ints, rank: Ints, pairs: tuple[Ints, Ints, Float64s], stands_for: Ints) -> Ints:
    """The keeper of each image: ids (k,) -> ids (k,).

    `image` is ascending, `rank` the place of each among them as a keeper, and `pairs` are (a, b, score), those that are
    near enough. The best image that is in no star yet becomes the keeper of those that it matches and that are in none:
    the first maximal independent set in the order of the ranks. One that matches only images with other keepers goes
    with the nearest of these, if there are several with the best.
    """
    a, b, score = pairs
    nodes, node = np.unique(stands_for[image], return_inverse=True)
    best = np.lexsort((rank, node))[np.unique(np.sort(node), return_index=True)[1]]
    x, y = (np.searchsorted(nodes, stands_for[ids]) for ids in (a, b))
    inside = np.zeros(len(nodes), bool)  # the images of a set match each other: never some of them, see set_keys
    inside[x[x == y]] = True
    apart = x != y
    x, y, score = np.concatenate([x[apart], y[apart]]), np.concatenate([y[apart], x[apart]]), np.tile(score[apart], 2)
    centre = _centres(rank[best], inside, x, y)
    keeper = centre[node]
    # Of a set that is a centre and whose images do not match each other, only the best is its keeper's.
    of_itself = (centre == np.arange(len(nodes)))[node] & ~inside[node] & (best[node] != np.arange(len(image)))
    alone = (keeper < 0) | of_itself
    wanted = np.zeros(len(nodes), bool)
    wanted[node[alone]] = True
    rows = wanted[x] & (centre[y] >= 0)
    keeper[alone] = centre[_nearest(rank[best], x[rows], y[rows], score[rows])][node[alone]]
    return image[best[keeper]]


def _centres(rank: Ints, inside: Bools, x: Ints, y: Ints) -> Ints:
    """The set whose best image is the keeper of each set, int64 (m,); -1 where all that it matches have another.

    `rank` is that of the best image of each set, (x, y) both ways which sets match each other.
    """
    order = np.argsort(x, kind="stable")
    neighbours, ends = y[order], np.searchsorted(x[order], np.arange(len(rank) + 1))
    centre = np.full(len(rank), -1, np.int64)
    for node in np.argsort(rank).tolist():
        if centre[node] >= 0:
            continue
        near = neighbours[ends[node] : ends[node + 1]]
        near = near[centre[near] < 0]
        if len(near) or inside[node]:
            centre[near] = centre[node] = node
    return centre


def _nearest(rank: Ints, x: Ints, y: Ints, score: Float64s) -> Ints:
    """The set y that each set x is nearest to, the best of several, int64 (m,); itself where there is none."""
    order = np.lexsort((rank[y], score, x))
    first = order[np.flatnonzero(np.diff(x[order], prepend=-1))]
    nearest = np.arange(len(rank))
    nearest[x[first]] = y[first]
    return nearest
