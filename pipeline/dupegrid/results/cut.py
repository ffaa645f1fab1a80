"""What a run says at another threshold; and contact sheets of clusters by their numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsInt

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted
from dupegrid.results.answers import CutSummary, bytes_of
from dupegrid.results.reading import ThumbsOf
from dupegrid.results.report import Sheet, cards


@dataclass(frozen=True, repr=False)
class Cut:
    """What a run says at another threshold: tables of schema MATCHES and CLUSTERS, and those of all its images."""

    threshold: float
    matches: pa.Table
    clusters: pa.Table
    images: pa.Table
    thumbs_of: ThumbsOf

    @property
    def summary(self) -> CutSummary:
        """The same numbers that the run's summary has."""
        roles = self.clusters["role"]
        return CutSummary(
            threshold=self.threshold,
            matches=len(self.matches),
            clusters=len(pc.unique(self.clusters["cluster"])),
            duplicates=pc.sum(pc.equal(roles, "duplicate")).as_py() or 0,
            bridges=pc.sum(pc.equal(roles, "bridge")).as_py() or 0,
            duplicate_bytes=bytes_of(self.images, self.clusters),
        )

    def show(self, cluster: SupportsInt | Iterable[SupportsInt] = 0) -> Sheet:
        """A contact sheet of one cluster or several, which a notebook draws."""
        return sheet(self.clusters, self.images, self.thumbs_of, cluster)

    def __repr__(self) -> str:
        count = len(pc.unique(self.clusters["cluster"]))
        found = f"{counted(len(self.matches), 'pair')}, {len(self.clusters):,} images in {counted(count, 'cluster')}"
        return f"Cut at {self.threshold:g}: {found}"


def sheet(
    clusters: pa.Table, images: pa.Table, thumbs_of: ThumbsOf, cluster: SupportsInt | Iterable[SupportsInt]
) -> Sheet:
    """A contact sheet of clusters, by their numbers. UsageError for what is no number of one."""
    known = len(pc.unique(clusters["cluster"]))
    given = cluster if isinstance(cluster, Iterable) and not isinstance(cluster, str) else [cluster]
    numbers = [_whole(number) for number in given]
    for number in numbers:
        if not 0 <= number < known:
            raise UsageError(f"no cluster {number}: this run has {known}, counted from 0")
    return Sheet(cards(clusters, images, thumbs_of, numbers))


def _whole(number: Any) -> int:
    try:
        return int(number)
    except (TypeError, ValueError):
        raise UsageError(f"cluster is {number!r}: give its number, or several") from None


def number_of(threshold: Any) -> float:
    """A threshold as a number. UsageError where it is none."""
    try:
        return float(threshold)
    except (TypeError, ValueError):
        raise UsageError(f"threshold is {threshold!r}: give a number") from None
