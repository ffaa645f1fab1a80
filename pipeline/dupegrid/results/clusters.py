"""Pairs -> clusters and their keepers. Pure: tables in, a table out."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Float64s, Ints
from dupegrid.pairs.ask import Facts, Filters, facts_of
from dupegrid.results.keepers import criteria, ranked, rules
from dupegrid.storage.schemas import CLUSTERS

_MAX_ASPECT: Final = 1.1  # where the run has none of its own
_QUARTER_TURNS: Final = ("rot90", "rot270", "flip_rot90", "flip_rot270")


def clusters(images: pa.Table, matches: pa.Table, threshold: float, filters: Filters) -> pa.Table:
    """Connected components of the pairs at or under `threshold`, one row an image (schema CLUSTERS).

    The keeper is the original before what was made from it (keepers.py), and `rule` says what put it before each of
    the others. An image at or under the threshold from its keeper is a 'duplicate', unless the MSE of a square says
    little of the two; then it is a 'bridge', as are those that are joined through others only, and `reason` says why.
    The largest cluster is number 0; ties go by the keeper's path, so the
    numbers do not depend on ids. `images` is a table of schema IMAGES, `matches` has at least the columns a, b, mse,
    orientation and score of schema MATCHES; `filters` are the pairs that were asked for.
    """
    a, b, score = (matches[name].to_numpy() for name in ("a", "b", "score"))
    stands_for = _stands_for(images)
    image, label = _components(a[score <= threshold], b[score <= threshold], stands_for)
    values = criteria(images, image)
    place = np.lexsort((ranked(values), label))
    image, label = image[place], label[place]
    first = np.flatnonzero(np.diff(label, prepend=-1))  # the keeper leads its cluster
    sizes = np.diff(first, append=len(label))
    keeper, its_place = np.repeat(image[first], sizes), np.repeat(place[first], sizes)
    number = _numbers(sizes, values["order"][place[first]])
    row = _rows_of(*_listed(image, keeper, stands_for), a, b, len(images))
    is_keeper = image == keeper
    distance = _values_of(row, is_keeper, matches["mse"].to_numpy())
    near = _values_of(row, is_keeper, score) <= threshold
    reason = _reasons(images, (image, keeper), near, matches["orientation"].take(pa.array(row, mask=row < 0)), filters)
    role = np.where(is_keeper, "keep", np.where(reason == "", "duplicate", "bridge"))
    rule = rules(values, place, its_place)
    table = pa.table(
        {
            "cluster": np.repeat(number, sizes),
            "image": image,
            "path": images["path"].take(image),
            "path_raw": images["path_raw"].take(image),
            "role": pa.array(role, pa.string()),
            "keeper": keeper,
            "mse_to_keeper": pa.array(distance, mask=np.isinf(distance)),
            "reason": pa.array(reason, pa.string(), mask=reason == ""),
            "rule": pa.array(rule, pa.string(), mask=rule == ""),
        },
        schema=CLUSTERS,
    )
    return table.take(np.argsort(table["cluster"].to_numpy(), kind="stable"))


def _components(a: Ints, b: Ints, stands_for: Ints) -> tuple[Ints, Ints]:
    """Connected components of pairs of images, ids (k,): the ids of all images in one, and the number of each's.

    `stands_for` is by id the representative of each image, which may be itself.
    """
    # Only a set whose representative matched something has members worth listing.
    matched = np.zeros(len(stands_for), bool)
    matched[a] = matched[b] = True
    member = np.flatnonzero((stands_for != np.arange(len(stands_for))) & matched[stands_for])
    starts, ends = np.concatenate([a, stands_for[member]]), np.concatenate([b, member])
    image = np.unique(np.concatenate([starts, ends]))
    return image, joined(len(image), np.searchsorted(image, starts), np.searchsorted(image, ends))


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
    images: pa.Table, pairs: tuple[Ints, Ints], near: Bools, orientation: pa.ChunkedArray, filters: Filters
) -> npt.NDArray[np.str_]:
    """Why each image is no duplicate of its keeper, though in one cluster with it; '' for one that is.

    `near` says which pairs (image, keeper) are at or under the threshold, `orientation` under which they are.
    """
    facts = facts_of(images)
    asked_for = filters.of_roots(facts, *pairs) & filters.of_sizes(facts, *pairs)

    def both(name: str) -> list[pa.ChunkedArray]:
        return [images[name].take(pa.array(ids)) for ids in pairs]

    def where(known: pa.ChunkedArray) -> Bools:
        return known.fill_null(False).to_numpy()  # type: ignore[no-any-return]

    return np.select(
        [
            pairs[0] == pairs[1],
            ~asked_for,
            ~near,
            where(pc.equal(*both("file_hash"))),
            where(pc.or_kleene(*both("transparent"))),
            where(pc.or_kleene(*both("flat"))),
            where(pc.not_equal(*(frames.fill_null(1) for frames in both("frames")))),
            ~_alike_in_aspect(facts, pairs, orientation, filters),
        ],
        ["", "not_asked_for", "chain", "", "transparent", "flat", "frames", "aspect"],
        "",
    )


def _alike_in_aspect(facts: Facts, pairs: tuple[Ints, Ints], orientation: pa.ChunkedArray, filters: Filters) -> Bools:
    """Whether the aspects of two images are near each other, one of them turned as the match says."""
    (width, its_width), (height, its_height) = (
        [sides[ids] for ids in pairs] for sides in (facts.widths, facts.heights)
    )
    most = filters.max_aspect or _MAX_ASPECT

    def alike(a: Ints, b: Ints) -> Bools:
        return np.maximum(a, b) <= most * np.minimum(a, b)

    upright, swapped = alike(width * its_height, its_width * height), alike(width * its_width, its_height * height)
    unknown = pc.is_null(orientation).to_numpy()
    turned = pc.is_in(orientation, pa.array(_QUARTER_TURNS)).to_numpy()
    return np.where(unknown, upright | (swapped & filters.turning), np.where(turned, swapped, upright))


def _numbers(sizes: Ints, keeper_path_rank: Ints) -> Ints:
    """0 for the largest cluster, ties by the keeper's path."""
    number = np.empty(len(sizes), np.int64)
    number[np.lexsort((keeper_path_rank, -sizes))] = np.arange(len(sizes))
    return number


def _rows_of(x: Ints, y: Ints, a: Ints, b: Ints, n: int) -> Ints:
    """The row of the matches (a, b) that holds each pair (x, y), or -1 where it is not listed."""
    if not len(a):
        return np.full(len(x), -1, np.int64)
    order = np.lexsort((b, a))
    known = a[order] * n + b[order]
    wanted = np.minimum(x, y) * n + np.maximum(x, y)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, order[at], -1)


def _values_of(rows: Ints, same: Bools, values: Float64s) -> Float64s:
    """The value in each row: 0 for an image and itself, infinite where there is no row."""
    listed = rows >= 0
    out = np.full(len(rows), np.inf)
    out[listed] = values[rows[listed]]
    out[same] = 0.0
    return out
