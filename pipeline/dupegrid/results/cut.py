"""What a run says at another threshold than its own, or at many."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, SupportsInt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Float64s
from dupegrid.core.config import Config
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import CutSummary
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.decided import Decided
from dupegrid.results.drawn.report import Sheet, sheet_of
from dupegrid.results.rows import Rows
from dupegrid.results.run_like import RunLike
from dupegrid.results.schemas import CURVE
from dupegrid.results.stored import images_of, matches_of
from dupegrid.results.summary import cut_summary

_STEPS: Final = 24
_LEAST_SHARE: Final = 1e-3  # of the cutoff; under it copies differ by rounding alone


@dataclass(frozen=True, repr=False)
class Cut:
    """What a run says at another threshold: tables of schema MATCHES and CLUSTERS, and those of all its images."""

    threshold: float
    clusters: pa.Table
    run: RunLike
    near: Matches

    @cached_property
    def matches(self) -> pa.Table:
        """The matches at or under the threshold, read when they are first asked for."""
        rows = matches_of(self.run)
        parts = (part.filter(pc.field("score") <= self.threshold) for part in rows.each(rows.schema.names))
        return pa.concat_tables([rows.schema.empty_table(), *parts])

    @property
    def images(self) -> pa.Table:
        """All images of the run."""
        return self.run.images

    @property
    def summary(self) -> CutSummary:
        """What is found at this threshold, in the words of the run's summary."""
        return cut_summary(self.threshold, images_of(self.run), self.near, self.clusters)

    def show(self, cluster: SupportsInt | Iterable[SupportsInt] = 0) -> Sheet:
        """A contact sheet of one cluster or several, which a notebook draws."""
        return sheet_of(self.clusters, images_of(self.run), self.run.thumbs_of, cluster)

    def __repr__(self) -> str:
        count = len(pc.unique(self.clusters["cluster"]))
        found = f"{counted(self.near.count(), 'pair')}, {len(self.clusters):,} images in {counted(count, 'cluster')}"
        return f"Cut at {self.threshold:g}: {found}"


def as_threshold(threshold: Any) -> float:
    """A threshold as a number. UsageError where it is none."""
    try:
        return float(threshold)
    except (TypeError, ValueError):
        raise UsageError(f"threshold is {threshold!r}: give a number") from None


def curve(
    images: pa.Table | Rows,
    matches: pa.Table | Matches,
    config: Config,
    thresholds: Iterable[float],
    decided: Decided | None = None,
) -> pa.Table:
    """What a run with these settings would find at each threshold, one row each, in their order (schema CURVE).

    `images` and `matches` are as `clusters` takes them; there are no pairs over the cutoff, so that no threshold above
    it says anything. What people `decided` of pairs holds at each.
    """
    rows, matches = [], Matches.of(matches)
    for threshold in map(float, thresholds):
        found = clusters(images, matches, threshold, Asked.of(config, decided))
        rows.append(cut_summary(threshold, images, matches.near(threshold), found).as_dict())
    return pa.Table.from_pylist(rows, schema=CURVE)


def steps(threshold: float, cutoff: float) -> Float64s:
    """Thresholds to look at, float64 (k,), ascending: 0, some up to the cutoff by equal factors, and the run's own."""
    spread = np.geomspace(cutoff * _LEAST_SHARE, cutoff, _STEPS) if cutoff else np.zeros(1)
    return np.unique([0.0, *spread[:-1], threshold, cutoff])
