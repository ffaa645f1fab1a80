"""Folder by folder: how much of each is in the other, by near duplicates. Pure: tables in, a table out.

A folder holds all that lies below it. Its pairs with folders above or below it are left out, and so is a pair where a
folder below one of the two holds all that the pair shares: that folder's own row says more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Bools, Ints
from dupegrid.core.text import display_path
from dupegrid.pairs.batches import Matches
from dupegrid.results.questions.near import Near, crossed, looked_up, near, spans, totals
from dupegrid.results.questions.tree import Tree, folder_tree
from dupegrid.results.schemas import FOLDERS

# Pairs of folders that one picture may make: of a picture in 100,000 folders it would be 10 billion.
_MOST_PAIRS: Final = 10_000
_CHUNK: Final = 1 << 22  # rows that are counted at a time
_WINDOWS: Final = 16  # at most: all pairs are looked at for each


@dataclass(frozen=True)
class _Places:
    """Where sets of images are, a row a set and a folder, by set and folder: those above the folder too."""

    sets: Ints  # (r,)
    folders: Ints  # (r,)
    counts: Ints  # (r,): images of the set that lie there


def folders(images: pa.Table, matches: pa.Table | Matches, threshold: float) -> pa.Table:
    """Pairs of folders that share pictures, and how much of each is in the other (schema FOLDERS).

    A picture is in the other folder if a near duplicate of it is: at or under the threshold, directly. First come the
    pairs of which one folder is wholly in the other, those that share most before the others. All counts are exact.
    Left out are pairs that share nothing but pictures of which each is in very many folders (as a blank one may be),
    except for those with the largest of these folders: so the time does not grow with the square of the folders.
    `images` is a table of schema IMAGES, `matches` has at least the columns a, b and score of schema MATCHES.
    """
    pairs = near(images, matches, threshold)
    ids = np.flatnonzero(pairs.ok)
    tree, holder = folder_tree(images["path_raw"].take(pa.array(ids)))
    held = tree.summed(np.bincount(holder, minlength=len(tree.names)))
    key, ours, theirs = _shared(pairs, (pairs.set_of[ids], holder), tree, held)
    first, second = np.divmod(key, max(len(tree.names), 1))
    keep = ~_said_below(key, first, second, ours, theirs, tree)
    return _table(tree, held, (first[keep], second[keep]), (ours[keep], theirs[keep]))


def _reaches(pairs: Near, tree: Tree, lie: tuple[Ints, Ints]) -> Iterator[tuple[_Places, _Places]]:
    """The folders of each set that has near duplicates, and the folders of these; `lie` has set and folder by image.

    Some sets at a time, as they come: those of so many pairs.
    """
    n, f = len(pairs.ok), max(len(tree.names), 1)
    both = np.isfinite(pairs.inner) + np.bincount(pairs.a, minlength=n) + np.bincount(pairs.b, minlength=n)
    matched = both > 0
    sets, folder = (some[matched[lie[0]]] for some in lie)
    key, counts = np.unique(sets * f + folder, return_counts=True)
    leaves = _Places(key // f, key % f, counts)
    # A set that nothing of is left has no rows; each pair (set, other set) reaches the folders of the other.
    starts, many = spans(leaves.sets, n)
    once = np.arange(n), np.ones(n, np.int64)
    ends = np.cumsum(both)
    at_once = max(_CHUNK, int(ends[-1]) // _WINDOWS) if n else _CHUNK
    for low, high in pairwise([0, *np.flatnonzero(np.diff(ends // at_once, append=-1)) + 1]):
        inner = low + np.flatnonzero(np.isfinite(pairs.inner[low:high]))
        of_a, of_b = ((some >= low) & (some < high) for some in (pairs.a, pairs.b))
        here = np.concatenate([inner, pairs.a[of_a], pairs.b[of_b]])
        there = np.concatenate([inner, pairs.b[of_a], pairs.a[of_b]])
        at, row = crossed(here, there, (once[0], starts), (once[1], many))
        found = np.unique(at * f + leaves.folders[row])
        own = slice(*np.searchsorted(leaves.sets, [low, high]).tolist())
        mine = _Places(leaves.sets[own], leaves.folders[own], leaves.counts[own])
        yield _climbed(mine, tree), _climbed(_Places(found // f, found % f, np.ones_like(found)), tree)


def _climbed(places: _Places, tree: Tree) -> _Places:
    """Where sets are, with the folders above each, where the images of all below count."""
    f = max(len(tree.names), 1)
    sets, folder, counts = places.sets, places.folders, places.counts
    keys, sums = [sets * f + folder], [counts]
    while len(sets):
        above = tree.parents[folder]
        sets, folder, counts = (some[above >= 0] for some in (sets, above, counts))
        key, sum_ = totals(sets * f + folder, counts)
        sets, folder, counts = key // f, key % f, sum_
        keys.append(key)
        sums.append(sum_)
    key, sum_ = totals(np.concatenate(keys), np.concatenate(sums))
    return _Places(key // f, key % f, sum_)


def _shared(pairs: Near, lie: tuple[Ints, Ints], tree: Tree, held: Ints) -> tuple[Ints, Ints, Ints]:
    """Pairs of folders as first * f + second, the first before the second; images of the first in the second, and of
    the second in the first: int64 (p,) each.
    """
    f = max(len(tree.names), 1)
    total: tuple[Ints, Ints] = np.zeros(0, np.int64), np.zeros(0, np.int64)
    everywhere: list[tuple[Ints, Ints, Ints]] = []  # of a set: its folders, images there, folders that it reaches
    for places, reached in _reaches(pairs, tree, lie):
        n = int(max(places.sets.max(initial=-1), reached.sets.max(initial=-1))) + 1
        (starts, ours), (ends, theirs) = spans(places.sets, n), spans(reached.sets, n)
        cost = ours * theirs
        usual = np.flatnonzero((cost > 0) & (cost <= _MOST_PAIRS))
        for some in np.split(usual, np.flatnonzero(np.diff(np.cumsum(cost[usual]) // _CHUNK)) + 1):
            row, other = crossed(some, some, (starts, ends), (ours, theirs))
            a, b = places.folders[row], reached.folders[other]
            apart = ~tree.nested(a, b)
            key, counts = totals(a[apart] * f + b[apart], places.counts[row[apart]])
            total = totals(np.concatenate([total[0], key]), np.concatenate([total[1], counts]))
        for number in np.flatnonzero(cost > _MOST_PAIRS).tolist():
            mine, its = _rows(places, number), _rows(reached, number)
            everywhere.append((places.folders[mine], places.counts[mine], reached.folders[its]))
    key = np.concatenate([total[0], *(_with_largest(own, others, tree, held) for own, _, others in everywhere)])
    a, b = np.divmod(key, f)
    a, b = np.divmod(np.unique(np.minimum(a, b) * f + np.maximum(a, b)), f)
    forth, back = (looked_up(*total, some, 0) for some in (a * f + b, b * f + a))
    for own, counts, others in everywhere:
        holds, reaches = np.zeros(f, np.int64), np.zeros(f, bool)
        holds[own] = counts
        reaches[others] = True
        forth += holds[a] * reaches[b]
        back += holds[b] * reaches[a]
    return a * f + b, forth, back


def _with_largest(mine: Ints, others: Ints, tree: Tree, held: Ints) -> Ints:
    """The pairs of a set's folders with the one that holds the most images among those that it reaches."""
    leaves = others[~np.isin(others, tree.parents[others])]  # a folder above is larger, and says less
    largest = int(leaves[np.lexsort((leaves, -held[leaves]))[0]])
    return mine[~tree.nested(mine, np.full_like(mine, largest))] * len(tree.names) + largest


def _rows(places: _Places, number: int) -> slice:
    return slice(*np.searchsorted(places.sets, [number, number + 1]).tolist())


def _said_below(key: Ints, first: Ints, second: Ints, ours: Ints, theirs: Ints, tree: Tree) -> Bools:
    """Whether a pair shares no more than one of its folders' subfolders does with the other folder."""
    f, said = len(tree.names), np.zeros(len(key), bool)
    for above, other, swap in ((tree.parents[first], second, False), (tree.parents[second], first, True)):
        wanted = np.minimum(above, other) * f + np.maximum(above, other)
        at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
        flipped = (above > other) != swap  # the folder above is not where the one below was
        same = np.where(
            flipped, (ours[at] == theirs) & (theirs[at] == ours), (ours[at] == ours) & (theirs[at] == theirs)
        )
        said[at[(above >= 0) & (key[at] == wanted) & same]] = True
    return said


def _table(tree: Tree, held: Ints, pair: tuple[Ints, Ints], shared: tuple[Ints, Ints]) -> pa.Table:
    """The rows, each with the folder that is more in the other as b."""
    percents = 100 * np.stack(shared) / held[np.stack(pair)]
    swap = percents[0] > percents[1]
    (a, b), (in_b, in_a) = (np.where(swap, both[::-1], both) for both in (np.stack(pair), np.stack(shared)))
    order = np.lexsort((b, a, -in_b, -in_a, in_a < held[b]))
    a, b, in_a, in_b = (some[order] for some in (a, b, in_a, in_b))
    raw = pa.array(tree.names, pa.binary())
    text = pa.array([display_path(name) or "/" for name in tree.names], pa.string())
    return pa.table(
        {
            "folder_a": text.take(pa.array(a)),
            "folder_b": text.take(pa.array(b)),
            "images_a": held[a],
            "images_b": held[b],
            "shared_a": in_b,
            "shared_b": in_a,
            "percent_a": 100 * in_b / held[a],
            "percent_b": 100 * in_a / held[b],
            "overlap_percent": 100 * (in_a + in_b) / (held[a] + held[b]),
            "b_in_a": in_a == held[b],
            "a_in_b": in_b == held[a],
            "folder_raw_a": raw.take(pa.array(a)),
            "folder_raw_b": raw.take(pa.array(b)),
        },
        schema=FOLDERS,
    )
