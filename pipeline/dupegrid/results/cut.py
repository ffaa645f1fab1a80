"""What a run says at its threshold, at another or at many; and contact sheets of clusters by their numbers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final, SupportsInt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Float64s
from dupegrid.core.config import Config
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import CutSummary, Summary, cut_summary
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.decided import Decided
from dupegrid.results.drawn.report import Sheet, cards
from dupegrid.results.keepers import Keeping
from dupegrid.results.relations import counted_relations
from dupegrid.results.rows import Rows, representatives
from dupegrid.results.run_like import RunLike, ThumbsOf
from dupegrid.results.schemas import CURVE
from dupegrid.results.stored import clusters_of, images_of, matches_of, relations_if_told

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
        return sheet(self.clusters, images_of(self.run), self.run.thumbs_of, cluster)

    def __repr__(self) -> str:
        count = len(pc.unique(self.clusters["cluster"]))
        found = f"{counted(self.near.count(), 'pair')}, {len(self.clusters):,} images in {counted(count, 'cluster')}"
        return f"Cut at {self.threshold:g}: {found}"


def sheet(
    clusters: pa.Table, images: pa.Table | Rows, thumbs_of: ThumbsOf, cluster: SupportsInt | Iterable[SupportsInt]
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
        if (whole := int(number)) == number:
            return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"cluster is {number!r}: give its number, or several")


def number_of(threshold: Any) -> float:
    """A threshold as a number. UsageError where it is none."""
    try:
        return float(threshold)
    except (TypeError, ValueError):
        raise UsageError(f"threshold is {threshold!r}: give a number") from None


def summary_of(run: RunLike) -> Summary:
    """A run in a few numbers."""
    config, receipt, near = run.config, run.receipt, run.match_batches.near(run.config.threshold)
    told, words = relations_if_told(run), []
    if told is not None:
        words = told["relation"].filter(pc.less_equal(run.match_scores["score"], config.threshold)).to_pylist()
    of_path, there = _already_there(images_of(run), near) if config.against else (None, None)
    return Summary(
        run=str(run.path),
        report=str(run.path / "report.html"),
        images=receipt.images.found,
        ok=receipt.images.ok,
        failed=receipt.images.failed,
        removed=receipt.images.removed,
        unreadable_folders=receipt.unreadable_folders,
        links_left_alone=receipt.links_left_alone,
        pairs=receipt.pairs["total"],
        **asdict(cut_summary(config.threshold, images_of(run), near, clusters_of(run))),
        not_asked_for=receipt.pairs["other_group"] + receipt.pairs["filter"],
        relations=counted_relations(words),
        nothing_under=Keeping.of(config).nothing_under(images_of(run)),
        pictures_of_path=of_path,
        already_there=there,
    )


def _already_there(images: Rows, near: Matches) -> tuple[int, int]:
    """Of an A-versus-B run: how many pictures of PATH there are, and how many have a match on the other side."""

    def is_first(part: pa.Table) -> Bools:
        both = pc.and_(pc.equal(part["status"], "ok"), pc.equal(part["group"], "a"))
        return both.fill_null(False).to_numpy()  # type: ignore[no-any-return]

    first: Bools = images.made(["status", "group"], is_first, bool)
    matched = np.zeros(len(first), bool)
    for batch in near:
        matched[batch.a] = matched[batch.b] = True
    return int(first.sum()), int((first & matched[representatives(images)]).sum())


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
