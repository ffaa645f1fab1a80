"""Pairs -> clusters and their keepers. Pure: tables in, a table out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Bools, Float64s, Ints
from dupegrid.pairs.ask import Facts, Filters, facts_of
from dupegrid.pairs.batches import Matches, of_pairs
from dupegrid.pairs.hashes import numbered
from dupegrid.results.decided import Decided
from dupegrid.results.keepers import Keeping, compared, criteria, ranked, rules
from dupegrid.results.stars import Pairs, keepers_of, matched
from dupegrid.storage.schemas import CLUSTERS

DEFAULT: Final = Keeping()
_MAX_ASPECT: Final = 1.1  # where the run has none of its own
_LOOKED_AT: Final = ("chain", "transparent", "flat", "frames", "aspect")  # what who looked at the two knows better
_QUARTER_TURNS: Final = [ORIENTATIONS.index(name) for name in ("rot90", "rot270", "flip_rot90", "flip_rot270")]


def clusters(
    images: pa.Table,
    matches: pa.Table | Matches,
    threshold: float,
    filters: Filters,
    keeping: Keeping = DEFAULT,
    decided: Decided | None = None,
) -> pa.Table:
    """The images in pairs at or under `threshold`, each with its keeper: one row an image (schema CLUSTERS).

    A cluster is a star: the best image that is in none yet, and all others in none that it matches (stars.py). Each of
    these is a 'duplicate', unless the MSE of a square says little of the two or the image is protected; then it is a
    'bridge', as are images that match another one of the cluster only, and `reason` says why. `rule` says what put the
    keeper before each of the others. The largest cluster is number 0; ties go by the keeper's path, so the numbers do
    not depend on ids. `images` is a table of schema IMAGES, `matches` are gone through in batches, or a table with at
    least the columns a, b, mse, orientation and score of schema MATCHES; `filters` are the pairs that were asked for,
    by a column `hash` of the images too.
    Of pairs that people `decided`, those that are not the same match nothing, those that are the same match up to the
    cutoff.
    """
    matches, stands_for = Matches.of(matches), _stands_for(images)
    pairs = Pairs(_Near(matches, threshold, decided), matches.window_bytes)
    ids = matched(pairs, stands_for)
    values = criteria(images, ids, keeping, None if decided is None else decided.after)
    rank = ranked(values)
    keeper = keepers_of(ids, rank, pairs, stands_for)
    its_place = np.searchsorted(ids, keeper)
    place = np.lexsort((rank, rank[its_place]))  # the keeper leads its cluster
    image, keeper, its_place = ids[place], keeper[place], its_place[place]
    first = image == keeper
    distance, score, turn = of_pairs(matches, *_listed(image, keeper, stands_for), len(images))
    distance[first] = score[first] = 0.0
    reason = _reasons(images, (image, keeper), score <= threshold, turn, filters, keeping.protected(images))
    if decided is not None:
        reason = _decided_reasons(reason, (image, keeper), np.isfinite(distance), decided)
    rule = rules(values, place, its_place)
    return _table(images, (image, keeper), distance, reason, rule, values["path"][place])


@dataclass(frozen=True)
class _Near:
    """The pairs that are near enough, as `Pairs` has them: by their score, or as people decided."""

    matches: Matches
    threshold: float
    decided: Decided | None

    def __iter__(self) -> Iterator[tuple[Ints, Ints, Float64s]]:
        for a, b, _, score, _ in self.matches:
            near = score <= self.threshold
            if self.decided is not None:
                near = (near | self.decided.are_same(a, b)) & ~self.decided.are_apart(a, b)
            yield a[near], b[near], score[near]


def joined(n: int, a: Ints, b: Ints) -> Ints:
    """The smallest number joined to each of 0 to n - 1 by the edges (a, b), int64 (k,): int64 (n,).

    Algorithm S of Liu and Tarjan, Simple concurrent labeling algorithms for connected components, 2019. In a round each
    root joins the smallest of its neighbours that are smaller. One that is left after two rounds was joined by another
    in the first, so that at most half are left then: 2 log2(n) rounds.
    """
    root = np.arange(n)
    while len(a):
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]
        a, b = root[a], root[b]
        a, b = a[a != b], b[a != b]
    return root


def joining_threshold(matches: pa.Table, first: int, second: int) -> float | None:
    """The smallest threshold that puts two images into one cluster, directly or through others; None over the cutoff.

    That is the least possible largest step of a path between them, found by halving.
    """
    a, b, score = (matches[name].to_numpy() for name in ("a", "b", "score"))
    image = np.unique(np.concatenate([a, b]))
    at = np.searchsorted(image, [first, second])
    if (at >= len(image)).any() or (image[at] != [first, second]).any():
        return None
    x, y = np.searchsorted(image, a), np.searchsorted(image, b)
    steps, level = np.unique(score, return_inverse=True)
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        root = joined(len(image), x[level <= middle], y[level <= middle])
        low, high = (low, middle) if root[at[0]] == root[at[1]] else (middle + 1, high)
    return float(steps[low]) if low < len(steps) else None


def _stands_for(images: pa.Table) -> Ints:
    """The image that is compared in place of each one: its set's representative, or itself."""
    representative = images["identical_to"].fill_null(-1).to_numpy()
    return np.where(representative >= 0, representative, np.arange(len(images)))


def _listed(image: Ints, keeper: Ints, stands_for: Ints) -> tuple[Ints, Ints]:
    """The pairs whose rows say how far images are from their keepers.

    Those are of the images that stand for the two; of one set, any two are as far apart as each is from the first.
    """
    x, y = stands_for[image], stands_for[keeper]
    return x, np.where(x != y, y, np.where(image != x, image, keeper))


def _reasons(
    images: pa.Table,
    pairs: tuple[Ints, Ints],
    near: Bools,
    turn: npt.NDArray[np.int8],
    filters: Filters,
    protected: Bools,
) -> npt.NDArray[np.str_]:
    """Why each image is no duplicate of its keeper, though in one cluster with it; '' for one that is.

    `near` says which pairs (image, keeper) are at or under the threshold, `turn` under which orientation they are,
    -1 where that is not known; `protected` is by id.
    """
    facts = facts_of(images)
    asked_for = filters.of_roots(facts, *pairs) & filters.of_sizes(facts, *pairs)
    if "hash" in images.column_names:
        asked_for &= filters.of_hashes(numbered(images["hash"]), *pairs)

    def both(name: str) -> list[pa.ChunkedArray]:
        return [images[name].take(pa.array(ids)) for ids in pairs]

    def where(known: pa.ChunkedArray) -> Bools:
        return known.fill_null(False).to_numpy()  # type: ignore[no-any-return]

    return np.select(
        [
            pairs[0] == pairs[1],
            ~asked_for,
            ~near,
            protected[pairs[0]],
            where(pc.equal(*both("file_hash"))),
            where(pc.or_kleene(*both("transparent"))),
            where(pc.or_kleene(*both("flat"))),
            where(pc.not_equal(*(frames.fill_null(1) for frames in both("frames")))),
            ~_alike_in_aspect(facts, pairs, turn, filters),
        ],
        ["", "not_asked_for", "chain", "protected", "", "transparent", "flat", "frames", "aspect"],
        "",
    )


def _decided_reasons(
    reason: npt.NDArray[np.str_], pairs: tuple[Ints, Ints], known: Bools, decided: Decided
) -> npt.NDArray[np.str_]:
    """The reasons, changed by what people decided of the pairs (image, keeper); `known` says whose MSE is known."""
    other = (pairs[0] != pairs[1]) & ~decided.are_equal(*pairs)
    apart = decided.are_apart(*pairs) | (decided.have_one_apart(*pairs) & ~decided.are_same(*pairs))
    looked_at = np.isin(reason, _LOOKED_AT) & known & decided.are_same(*pairs)
    return np.select(
        [reason == "protected", other & apart, other & decided.variant[pairs[0]], looked_at],
        ["protected", "not-same", "variant", ""],
        reason,
    )


def _alike_in_aspect(facts: Facts, pairs: tuple[Ints, Ints], turn: npt.NDArray[np.int8], filters: Filters) -> Bools:
    """Whether the aspects of two images are near each other, one of them turned as the match says."""
    (width, its_width), (height, its_height) = (
        [sides[ids].astype(np.int64) for ids in pairs] for sides in (facts.widths, facts.heights)
    )
    most = filters.max_aspect or _MAX_ASPECT

    def alike(a: Ints, b: Ints) -> Bools:
        return np.maximum(a, b) <= most * np.minimum(a, b)

    upright, swapped = alike(width * its_height, its_width * height), alike(width * its_width, its_height * height)
    turned = np.isin(turn, _QUARTER_TURNS)
    return np.where(turn < 0, upright | (swapped & filters.turning), np.where(turned, swapped, upright))


def _table(
    images: pa.Table,
    pairs: tuple[Ints, Ints],
    distance: Float64s,
    reason: npt.NDArray[np.str_],
    rule: npt.NDArray[np.str_],
    path_rank: Ints,
) -> pa.Table:
    """The rows of some pairs (image, keeper), cluster by cluster, the largest first."""
    image, keeper = pairs
    first = image == keeper
    table = pa.table(
        {
            "cluster": numbers_by_size(first, path_rank),
            "image": image,
            **{name: images[name].take(image) for name in ("path", "path_raw")},
            "role": pa.array(np.where(first, "keep", np.where(reason == "", "duplicate", "bridge")), pa.string()),
            "keeper": keeper,
            "mse_to_keeper": pa.array(distance, mask=np.isinf(distance)),
            "reason": pa.array(reason, pa.string(), mask=reason == ""),
            "rule": pa.array(rule, pa.string(), mask=rule == ""),
            "compared": compared(images, pairs, rule),
        },
        schema=CLUSTERS,
    )
    return table.take(np.argsort(table["cluster"].to_numpy(), kind="stable"))


def numbers_by_size(first: Bools, path_rank: Ints) -> Ints:
    """The number of each row's cluster, where `first` is its keeper: 0 the largest, ties by the keeper's path."""
    sizes = np.diff(np.flatnonzero(first), append=len(first))
    number = np.empty(len(sizes), np.int64)
    number[np.lexsort((path_rank[first], -sizes))] = np.arange(len(sizes))
    return np.repeat(number, sizes)
