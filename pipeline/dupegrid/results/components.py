"""Connected components: what pairs join, directly or through others, and from which threshold on. Pure."""

import numpy as np

from dupegrid.core.arrays import Ints
from dupegrid.pairs.batches import Matches


def components(n: int, a: Ints, b: Ints) -> Ints:
    """The smallest number in the component of each of 0 to n - 1, by the edges (a, b), int64 (k,): int64 (n,).

    Algorithm S of Liu and Tarjan, Simple concurrent labeling algorithms for connected components, 2019. In a round each
    root joins the smallest of its neighbours that are smaller. One that is left after two rounds was joined by another
    in the first, so that at most half are left then: 2 log2(n) rounds.
    """
    root = np.arange(n)
    while len(a):
        least = np.minimum(a, b).astype(np.int64, copy=False)  # of two kinds of numbers `at` takes 20 times as long
        np.minimum.at(root, np.maximum(a, b), least)
        while (root[root] != root).any():
            root = root[root]
        a, b = root[a], root[b]
        a, b = a[a != b], b[a != b]
    return root


def joining_threshold(matches: Matches, first: int, second: int) -> float | None:
    """The smallest threshold that puts two images into one cluster, directly or through others; None over the cutoff.

    That is the least possible largest step of a path between them, found by halving. All matches are held, narrow.
    """
    parts = [(batch.a, batch.b, batch.score) for batch in matches]
    if first == second or not parts:
        return 0.0 if first == second else None
    a, b, score = map(np.concatenate, zip(*parts, strict=True))
    images, steps = 1 + max(first, second, int(b.max(initial=0))), np.unique(score)
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        near = score <= steps[middle]
        root = components(images, a[near], b[near])
        if root[first] == root[second]:
            high, a, b, score = middle, a[near], b[near], score[near]
        else:  # what these join is one from now on
            first, second = int(root[first]), int(root[second])
            low, a, b, score = middle + 1, root[a[~near]], root[b[~near]], score[~near]
    return float(steps[low]) if low < len(steps) else None
