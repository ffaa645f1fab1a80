"""How well matches agree with pairs that are known to be duplicates, threshold by threshold. Pure."""

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Float64s, Ints
from dupegrid.core.errors import UsageError
from dupegrid.pairs.batches import Matches
from dupegrid.results.questions.near import Near, looked_up, near, totals
from dupegrid.results.schemas import EVALUATION


def evaluate(images: pa.Table, matches: pa.Table | Matches, truth: tuple[Ints, Ints]) -> pa.Table:
    """Precision and recall of the matches at every threshold at which one of them changes (schema EVALUATION).

    `truth` are the pairs that are duplicates, ids int64 (k,) and (k,), in any order; -1 for an image that the run does
    not know, whose pairs are missed. All other pairs that are found count as wrong. Of images with identical thumbnails
    each pair counts, listed or not. `images` has at least the columns id, identical_to and status of schema IMAGES,
    `matches` a, b and score of schema MATCHES. Raises UsageError where there is no pair in the truth.
    """
    pairs, n = near(images, matches, np.inf), len(images)
    steps, found = _found(pairs)
    low, high = np.minimum(*truth), np.maximum(*truth)
    total = int((low < 0).sum())
    known = (low >= 0) & (low != high)
    low, high = np.divmod(np.unique(low[known] * n + high[known]), max(n, 1))
    total += len(low)
    if not total:
        raise UsageError("the truth holds no pair of two pictures: give at least one")
    correct = np.searchsorted(np.sort(_scores(pairs, low, high)), steps, side="right")
    columns = [steps, found, correct, total - correct, correct / np.maximum(found, 1), correct / total]
    return pa.table(dict(zip(EVALUATION.names, columns, strict=True)), schema=EVALUATION)


def _found(pairs: Near) -> tuple[Float64s, Ints]:
    """The scores that there are, in order, and how many pairs of images are at or under each."""
    sizes = np.bincount(pairs.set_of[pairs.ok], minlength=len(pairs.ok))
    inner = np.flatnonzero(np.isfinite(pairs.inner))
    score = np.concatenate([pairs.score, pairs.inner[inner]])
    many = np.concatenate([sizes[pairs.a] * sizes[pairs.b], sizes[inner] * (sizes[inner] - 1) // 2])
    steps, counts = totals(score, many)
    return steps, np.cumsum(counts)


def _scores(pairs: Near, low: Ints, high: Ints) -> Float64s:
    """How far two images are from each other, infinite where that is over the cutoff: float64 (k,)."""
    n = len(pairs.ok)
    a, b = pairs.set_of[low], pairs.set_of[high]
    listed, wanted = (np.minimum(x, y) * n + np.maximum(x, y) for x, y in ((pairs.a, pairs.b), (a, b)))
    return np.where(a == b, pairs.inner[a], looked_up(listed, pairs.score, wanted, np.inf))
