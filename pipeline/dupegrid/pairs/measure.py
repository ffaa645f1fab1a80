"""Metrics, by their names; and a tile by another one than MSE: every pair that is asked for is measured in full.

The same tiles, marks and tables as for MSE; strips are of images in the order of their ids.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Float64s, Ints, Pixels, named_module, on_host, turned
from dupegrid.core.errors import ConfigError
from dupegrid.core.functions import code_of, error_line, load_function
from dupegrid.pairs.ask import Facts, read_facts
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import exact_sse, mae
from dupegrid.pairs.matches import PartWriter

Metric = Callable[[Pixels, Pixels], npt.NDArray[np.generic]]

FILTERED: Final = "mse"  # the one that tile.py filters
_BUILT_IN: Final[dict[str, Metric]] = {"mae": mae}
_ROWS_AT_ONCE: Final = 64


def is_built_in(name: str) -> bool:
    """Whether a metric is one of dupegrid's own: no other code is imported for it."""
    return name == FILTERED or name in _BUILT_IN


def load_metric(name: str) -> Metric:
    """The block function of a name or 'package.module:function': uint8 (m, D), (n, D) -> (m, n), less is more alike.

    Imports the module. ConfigError where there is none, or its import fails in any way.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    advice = f"use {', '.join([FILTERED, *_BUILT_IN])} or package.module:function"
    return load_function(name, "metric", advice)


def metric_code(name: str) -> str:
    """What the code of a metric is known by: its versions and a digest of its source; '' for one of dupegrid's own.

    Imports the module.
    """
    return "" if is_built_in(name) else code_of(name, load_metric(name))


def measure_tile(job: Job, i: int, j: int, tally: dict[str, int], writer: PartWriter) -> None:
    """Measure the pairs of a tile and give the matches to the writer.

    A pair's score is the least over the orientations of image b, the one with the higher id. ConfigError if the metric
    fails or returns anything but real numbers, one a pair.
    """
    facts = read_facts(job.run_dir)
    first, second = facts.live[job.grid.rows(i)], facts.live[job.grid.rows(j)]
    # Of an image all turns are there, as uint8 and as what a metric makes of them, and its scores with some rows.
    bytes_per_image = len(job.orientations) * (5 * job.side * job.side * CHANNELS + 2 * 8 * _ROWS_AT_ONCE)
    at_once = max(_ROWS_AT_ONCE, job.room.task_bytes() // 2 // bytes_per_image)
    for start in range(0, len(second), at_once):
        _measure(job, facts, first, second[start : start + at_once], tally, writer)


def _measure(job: Job, facts: Facts, first: Ints, second: Ints, tally: dict[str, int], writer: PartWriter) -> None:
    """Measure the pairs of images with others, ids (m,) and (n,)."""
    metric, thumbs = _loaded(job), job.run_dir.thumbs()
    xp = named_module(job.device if job.device and is_built_in(job.ask.metric) else "numpy")
    b = thumbs.take(second)
    turns = [turned(xp.asarray(b), name).reshape(len(b), -1) for name in job.orientations]
    for start in range(0, len(first), _ROWS_AT_ONCE):
        ids = first[start : start + _ROWS_AT_ONCE]
        a = thumbs.take(ids)
        scores = np.stack([_scores(metric, job.ask.metric, xp.asarray(a).reshape(len(a), -1), y) for y in turns])
        x, y = (part.ravel() for part in np.indices(scores.shape[1:]))
        upper = ids[x] < second[y]
        of_roots = upper & job.filters.of_roots(facts, ids[x], second[y])
        asked_for = of_roots & job.filters.of_sizes(facts, ids[x], second[y])
        asked_for &= job.filters.of_hashes(facts, ids[x], second[y])
        tally["other_group"] += int(upper.sum() - of_roots.sum())
        tally["filter"] += int(of_roots.sum() - asked_for.sum())
        tally["exact"] += int(asked_for.sum())
        _refuse_nan(scores.reshape(len(turns), -1)[:, asked_for], job.ask.metric)
        keep = np.flatnonzero(asked_for & (scores.min(axis=0).ravel() <= job.ask.cutoff))
        x, y = x[keep], y[keep]
        writer.add(ids[x], second[y], *_least(job, (a[p] for p in x), (b[q] for q in y), scores[:, x, y]))


def measure_equal(job: Job, ids: Ints) -> tuple[Ints, Ints, Float64s]:
    """What the metric gives for images, ids (k,), and copies of them: the columns sse, orientation and score; (k,)."""
    metric, name, thumbs = _loaded(job), job.ask.metric, job.run_dir.thumbs()
    parts = [_least(job, [], [], np.empty((len(job.orientations), 0)))]
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        for image in thumbs.take(ids[start : start + _ROWS_AT_ONCE]):
            turns = [turned(image[None], turn).reshape(1, -1) for turn in job.orientations]
            scores = np.concatenate([_scores(metric, name, image.reshape(1, -1), y) for y in turns])
            _refuse_nan(scores, name)
            parts.append(_least(job, [image], [image], scores))
    sse, orientation, score = map(np.concatenate, zip(*parts, strict=True))
    return sse, orientation, score


def _least(job: Job, a: Iterable[Pixels], b: Iterable[Pixels], scores: Float64s) -> tuple[Ints, Ints, Float64s]:
    """The columns sse, orientation and score of paired images, by their scores under each orientation.

    (k, S, S, 3) twice and (orientations, k) -> (k,) each.
    """
    turn = scores.argmin(axis=0)
    both = zip(a, b, turn, strict=True)
    sse = [int(exact_sse(x[None], turned(y[None], job.orientations[t]))[0]) for x, y, t in both]
    numbers = np.array([ORIENTATIONS.index(name) for name in job.orientations], np.int64)
    return np.array(sse, np.int64), numbers[turn], scores.min(axis=0)


def _loaded(job: Job) -> Metric:
    """The metric of a comparison; ConfigError where its code is other here than where the comparison was begun."""
    metric = load_metric(job.ask.metric)
    if metric_code(job.ask.metric) != job.ask.metric_code:
        raise ConfigError(
            f"the code of metric {job.ask.metric!r} is other where a tile is measured: restart the workers"
        )
    return metric


def _scores(metric: Metric, name: str, x: Pixels, y: Pixels) -> Float64s:
    try:
        scores = on_host(metric(x, y))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"metric {name!r} failed ({error_line(error)}): it takes uint8 (m, D), (n, D)") from None
    if scores.shape != (len(x), len(y)) or scores.dtype.kind not in "biuf":
        raise ConfigError(
            f"metric {name!r} returned shape {scores.shape} of {scores.dtype} for {len(x)} and {len(y)} images: "
            f"it has to return ({len(x)}, {len(y)}) real numbers"
        )
    return scores.astype(np.float64)


def _refuse_nan(scores: Float64s, name: str) -> None:
    if np.isnan(scores).any():
        raise ConfigError(f"metric {name!r} returned NaN for a pair: it has to return real numbers")
