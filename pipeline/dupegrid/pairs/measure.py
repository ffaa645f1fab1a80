"""Other measures than MSE: no bound is known for them, so every pair that is asked for is measured.

The same tiles, marks and tables as for MSE; strips are of images in the order of their ids.
"""

import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.arrays import Pixels
from dupegrid.errors import ConfigError
from dupegrid.pairs.filters import read_facts
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import ORIENTATIONS, exact_sse, mae, turned
from dupegrid.pairs.matches import PartWriter
from dupegrid.store import Thumbs

Metric = Callable[[Pixels, Pixels], npt.NDArray[Any]]

FILTERED: Final = "mse"  # the one that pairs/tile.py filters
_BUILT_IN: Final[dict[str, Metric]] = {"mae": mae}
_ROWS_AT_ONCE: Final = 64


def load_metric(name: str) -> Metric:
    """The block function of a name or 'package.module:function': uint8 (m, D), (n, D) -> (m, n), less is more alike.

    ConfigError when there is none.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join([FILTERED, *_BUILT_IN])
        raise ConfigError(f"no metric {name!r} ({error}): use {known} or package.module:function") from None
    if not callable(found):
        raise ConfigError(f"metric {name!r} is a {type(found).__name__}, not a function")
    metric: Metric = found
    return metric


def measure_tile(job: Job, i: int, j: int, tally: dict[str, int], writer: PartWriter) -> None:
    """Measure the pairs of a tile and give the matches to the writer.

    A pair's score is the least over the orientations of image b, the one with the higher id. ValueError if the metric
    returns another shape than it was asked for.
    """
    metric, facts = load_metric(job.metric), read_facts(job.run_dir, job.index_mark)
    thumbs = Thumbs(job.run_dir / "thumbs.zarr")
    first, second = facts.live[job.grid.rows(i)], facts.live[job.grid.rows(j)]
    b = thumbs.take(second)
    turns = [turned(b, name).reshape(len(b), -1) for name in job.orientations]
    for start in range(0, len(first), _ROWS_AT_ONCE):
        ids = first[start : start + _ROWS_AT_ONCE]
        a = thumbs.take(ids)
        scores = np.stack([_scores(metric, job.metric, a.reshape(len(a), -1), y) for y in turns])
        x, y = (part.ravel() for part in np.meshgrid(np.arange(len(ids)), np.arange(len(second)), indexing="ij"))
        upper = ids[x] < second[y]
        of_roots = upper & job.filters.of_roots(facts, ids[x], second[y])
        asked_for = of_roots & job.filters.of_sizes(facts, ids[x], second[y])
        tally["other_group"] += int(upper.sum() - of_roots.sum())
        tally["filter"] += int(of_roots.sum() - asked_for.sum())
        tally["exact"] += int(asked_for.sum())
        keep = np.flatnonzero(asked_for & (scores.min(axis=0).ravel() <= job.cutoff))
        x, y = x[keep], y[keep]
        turn = scores[:, x, y].argmin(axis=0)
        orientation = np.array([ORIENTATIONS.index(name) for name in job.orientations], np.int64)[turn]
        sse = np.array(
            [_one_sse(a[p], b[q], job.orientations[t]) for p, q, t in zip(x, y, turn, strict=True)], np.int64
        )
        writer.add(ids[x], second[y], sse, orientation, scores[turn, x, y].astype(np.float64))


def _scores(metric: Metric, name: str, x: Pixels, y: Pixels) -> npt.NDArray[Any]:
    try:
        scores = np.asarray(metric(x, y))
    except Exception as error:
        raise ConfigError(
            f"metric {name!r} failed ({type(error).__name__}: {error}): it takes (m, D), (n, D)"
        ) from None
    if scores.shape != (len(x), len(y)):
        raise ValueError(f"metric {name!r} returned shape {scores.shape} for {len(x)} and {len(y)} images")
    return scores


def _one_sse(a: Pixels, b: Pixels, orientation: str) -> int:
    return int(exact_sse(a[None], turned(b[None], orientation))[0])
