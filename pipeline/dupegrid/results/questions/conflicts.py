"""Near duplicates with two labels. Pure: tables in, a table or marks out."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints
from dupegrid.results.questions.near import Near, crossed, spans
from dupegrid.results.questions.splits import Given
from dupegrid.results.schemas import LEAKAGE_CONFLICTS

_MOST: Final = 100  # of a set of identical thumbnails, so many labels in splits are listed, by their first images


def conflicts(images: pa.Table, pairs: Near, given: Given) -> pa.Table:
    """Pairs of near duplicates with two labels, by score and path (schema LEAKAGE_CONFLICTS).

    Of a set of identical thumbnails the first image of each label in each split stands for the others with it, and of
    a hundred such at most; `conflicting` tells every image. `images` is a table of schema IMAGES.
    """
    label, split = _codes(given.labels, pairs.ok), _codes(given.splits, pairs.ok)
    ids = np.flatnonzero(label >= 0)
    cells = np.stack([pairs.set_of[ids], label[ids], split[ids]], axis=1)
    _, first = np.unique(cells, axis=0, return_index=True)
    shown = ids[np.sort(first)]
    shown = shown[np.argsort(pairs.set_of[shown], kind="stable")]
    starts, many = spans(pairs.set_of[shown], len(label))
    many = np.minimum(many, _MOST)
    inner = np.flatnonzero(np.isfinite(pairs.inner))
    here, there = np.concatenate([pairs.a, inner]), np.concatenate([pairs.b, inner])
    a, b = (shown[rows] for rows in crossed(here, there, (starts, starts), (many, many)))
    score = np.repeat(np.concatenate([pairs.score, pairs.inner[inner]]), many[here] * many[there])
    listed = (label[a] != label[b]) & ((a < b) | (pairs.set_of[a] != pairs.set_of[b]))
    a, b, score = np.minimum(a, b)[listed], np.maximum(a, b)[listed], score[listed]
    columns = {"a": a, "b": b, "score": score}
    said = {"path": images["path"], "path_raw": images["path_raw"], "label": given.labels, "split": given.splits}
    for name, values in said.items():
        columns |= {f"{name}_a": values.take(pa.array(a)), f"{name}_b": values.take(pa.array(b))}
    table = pa.table(columns, schema=LEAKAGE_CONFLICTS)
    return table.sort_by([("score", "ascending"), ("path_a", "ascending"), ("path_b", "ascending")])


def conflicting(pairs: Near, labels: pa.Array) -> Bools:
    """Whether a near duplicate of an image has another label than it: bool (n,)."""
    label = _codes(labels, pairs.ok)
    n, none = len(label), np.iinfo(np.int64).max
    ids = np.flatnonzero(label >= 0)
    lowest, highest = np.full(n, none), np.full(n, -1)
    np.minimum.at(lowest, pairs.set_of[ids], label[ids])
    np.maximum.at(highest, pairs.set_of[ids], label[ids])
    inner = np.isfinite(pairs.inner)
    least, most = np.where(inner, lowest, none), np.where(inner, highest, -1)
    here, there, _ = pairs.both_ways()
    np.minimum.at(least, here, lowest[there])
    np.maximum.at(most, here, highest[there])
    return (label >= 0) & ((least[pairs.set_of] < label) | (most[pairs.set_of] > label))


def _codes(values: pa.Array, ok: Bools) -> Ints:
    """Equal numbers for equal values, -1 for null and for images that were not read: int64 (n,)."""
    codes = pc.index_in(values, pc.unique(values).drop_null()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.where(ok, codes.astype(np.int64), -1)
