"""Other measures than MSE: no bound is known for them, so every pair that is asked for is measured.

The same tiles, marks and tables as for MSE; strips are of images in the order of their ids.
"""

from typing import Final

import numpy as np

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Float64s, Ints, Pixels, named_module, on_host, turned
from dupegrid.core.errors import ConfigError
from dupegrid.core.functions import said
from dupegrid.pairs.ask import Facts, read_facts
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import exact_sse
from dupegrid.pairs.matches import PartWriter
from dupegrid.pairs.metric import Metric, is_built_in, load_metric, metric_code

_ROWS_AT_ONCE: Final = 64


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
        x, y = (part.ravel() for part in np.meshgrid(np.arange(len(ids)), np.arange(len(second)), indexing="ij"))
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
        turn = scores[:, x, y].argmin(axis=0)
        sse = np.array(
            [_one_sse(a[p], b[q], job.orientations[t]) for p, q, t in zip(x, y, turn, strict=True)], np.int64
        )
        writer.add(ids[x], second[y], sse, _orientations(job)[turn], scores[turn, x, y])


def measure_equal(job: Job, ids: Ints) -> tuple[Ints, Ints, Float64s]:
    """What the metric gives for images, ids (k,), and copies of them: the columns sse, orientation and score; (k,)."""
    metric, thumbs = _loaded(job), job.run_dir.thumbs()
    turn, sse, score = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64), np.empty(len(ids), np.float64)
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        for k, image in enumerate(thumbs.take(ids[start : start + _ROWS_AT_ONCE]), start):
            turns = [turned(image[None], name) for name in job.orientations]
            scores = np.array([_scores(metric, job.ask.metric, image.reshape(1, -1), y.reshape(1, -1)) for y in turns])
            _refuse_nan(scores, job.ask.metric)
            turn[k] = scores.argmin()
            score[k], sse[k] = scores.min(), _one_sse(image, image, job.orientations[turn[k]])
    return sse, _orientations(job)[turn], score


def _loaded(job: Job) -> Metric:
    """The metric of a comparison; ConfigError where its code is other here than where the comparison was begun."""
    metric = load_metric(job.ask.metric)
    if metric_code(job.ask.metric) != job.ask.metric_code:
        raise ConfigError(
            f"the code of metric {job.ask.metric!r} is other where a tile is measured: restart the workers"
        )
    return metric


def _orientations(job: Job) -> Ints:
    """The numbers of the orientations of a comparison."""
    return np.array([ORIENTATIONS.index(name) for name in job.orientations], np.int64)


def _scores(metric: Metric, name: str, x: Pixels, y: Pixels) -> Float64s:
    try:
        scores = on_host(metric(x, y))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"metric {name!r} failed ({said(error)}): it takes uint8 (m, D), (n, D)") from None
    if scores.shape != (len(x), len(y)) or scores.dtype.kind not in "biuf":
        raise ConfigError(
            f"metric {name!r} returned shape {scores.shape} of {scores.dtype} for {len(x)} and {len(y)} images: "
            f"it has to return ({len(x)}, {len(y)}) real numbers"
        )
    return scores.astype(np.float64)


def _refuse_nan(scores: Float64s, name: str) -> None:
    if np.isnan(scores).any():
        raise ConfigError(f"metric {name!r} returned NaN for a pair: it has to return real numbers")


def _one_sse(a: Pixels, b: Pixels, orientation: str) -> int:
    return int(exact_sse(a[None], turned(b[None], orientation))[0])
