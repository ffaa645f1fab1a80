"""Pairs -> clusters and their keepers. Pure: tables in, a table out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dupegrid.arrays import Bools, Float64s, Ints
from dupegrid.records import CLUSTERS


def clusters(images: pa.Table, matches: pa.Table, threshold: float) -> pa.Table:
    """Connected components of the pairs at or under `threshold`, one row an image (schema CLUSTERS).

    The keeper is no symbolic link, if there is another, has most pixels, then the largest file, then the first path.
    An image at or under the threshold from its keeper is a 'duplicate'; one that is joined through others only is a
    'bridge'. The largest cluster is number 0; ties go by the keeper's path, so the numbers do not depend on ids.
    `images` is a table of schema IMAGES, `matches` has at least the columns a, b, mse and score of schema MATCHES.
    """
    a, b, score = (matches[name].to_numpy() for name in ("a", "b", "score"))
    joined = score <= threshold
    stands_for = _stands_for(images)
    # Only a set whose representative matched something has members worth listing.
    matched = np.zeros(len(images), bool)
    matched[a[joined]] = matched[b[joined]] = True
    member = np.flatnonzero((stands_for != np.arange(len(images))) & matched[stands_for])
    starts, ends = np.concatenate([a[joined], stands_for[member]]), np.concatenate([b[joined], member])
    image = np.unique(np.concatenate([starts, ends]))
    edges = coo_array(
        (np.ones(len(starts), bool), (np.searchsorted(image, starts), np.searchsorted(image, ends))),
        shape=(len(image),) * 2,
    )
    _, label = connected_components(edges, directed=False)

    rank = _keeper_rank(images)
    order = np.lexsort((rank[image], label))
    image, label = image[order], label[order]
    first = np.flatnonzero(np.diff(label, prepend=-1))  # the keeper leads its cluster
    sizes = np.diff(first, append=len(label))
    keeper = np.repeat(image[first], sizes)
    number = _numbers(sizes, _path_rank(images)[image[first]])
    x, y = stands_for[image], stands_for[keeper]
    row = _rows_of(x, y, a, b, len(images))
    distance = _values_of(row, x == y, matches["mse"].to_numpy())
    role = np.where(_values_of(row, x == y, score) <= threshold, "duplicate", "bridge").astype(object)
    role[image == keeper] = "keep"
    table = pa.table(
        {
            "cluster": np.repeat(number, sizes),
            "image": image,
            "path": images["path"].take(image),
            "role": pa.array(role, pa.string()),
            "keeper": keeper,
            "mse_to_keeper": pa.array(distance, mask=np.isinf(distance)),
        },
        schema=CLUSTERS,
    )
    return table.take(np.argsort(table["cluster"].to_numpy(), kind="stable"))


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
        keep = level <= middle
        edges = coo_array((keep[keep], (x[keep], y[keep])), shape=(len(image),) * 2)
        _, label = connected_components(edges, directed=False)
        low, high = (low, middle) if label[at[0]] == label[at[1]] else (middle + 1, high)
    return float(steps[low]) if low < len(steps) else None


def _stands_for(images: pa.Table) -> Ints:
    """The image that is compared in place of each one: its set's representative, or itself."""
    representative = images["identical_to"].fill_null(-1).to_numpy()
    return np.where(representative >= 0, representative, np.arange(len(images)))


def _path_rank(images: pa.Table) -> Ints:
    rank = np.empty(len(images), np.int64)
    rank[pc.sort_indices(images["path_raw"]).to_numpy()] = np.arange(len(images))
    return rank


def _keeper_rank(images: pa.Table) -> Ints:
    """Every image's place among all, the best keeper first."""
    pixels = (images["width"].cast(pa.int64()).fill_null(0).to_numpy()) * images["height"].fill_null(0).to_numpy()
    symbolic = pc.equal(images["link_kind"], "symbolic").fill_null(False).to_numpy()  # last: never over their targets
    order = np.lexsort((_path_rank(images), -images["size_bytes"].to_numpy(), -pixels, symbolic))
    rank = np.empty(len(images), np.int64)
    rank[order] = np.arange(len(images))
    return rank


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
