"""Pairs -> clusters and their keepers. Pure: tables in, a table out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupegrid.core.arrays import Bools, Float64s, Ints
from dupegrid.core.config import Config
from dupegrid.pairs.ask import Filters
from dupegrid.pairs.batches import Batch, Matches, of_pairs
from dupegrid.results.decided import Decided
from dupegrid.results.keepers import Keeping, compared_values, criteria, deciding_rules, ranked
from dupegrid.results.reasons import Shots, Told, decided_reasons, reasons
from dupegrid.results.rows import Rows, representatives
from dupegrid.results.rules import COLUMNS
from dupegrid.results.stars import Pairs, keepers_of, matched
from dupegrid.storage.schemas import CLUSTERS

_ROWS_AT_ONCE: Final = 1 << 17  # made of clusters.parquet: a row group
_READ_AT_ONCE: Final = 1 << 19  # rows whose images are in memory; for each so many all are gone through
_READ: Final = {*COLUMNS, "status", "identical_to", "file_hash", "transparent", "flat", "frames", "hash"}


class Asked(NamedTuple):
    """What decides on pairs and keepers, beside the matches."""

    filters: Filters
    keeping: Keeping = Keeping()
    decided: Decided | None = None

    @classmethod
    def of(cls, config: Config, decided: Decided | None = None) -> "Asked":
        """What a configuration asks for, and what people decided of pairs."""
        return cls(Filters.of(config), Keeping.of(config), decided)


def clusters(images: pa.Table | Rows, matches: pa.Table | Matches, threshold: float, asked: Asked) -> pa.Table:
    """`cluster_parts` as one table."""
    return pa.concat_tables([CLUSTERS.empty_table(), *cluster_parts(images, matches, threshold, asked)])


def cluster_parts(
    images: pa.Table | Rows, matches: pa.Table | Matches, threshold: float, asked: Asked
) -> Iterator[pa.Table]:
    """The images in pairs at or under `threshold`, each with its keeper: one row an image (schema CLUSTERS).

    A cluster is a star: the best image that is in none yet, and all others in none that it matches (stars.py). Each of
    these is a 'duplicate', unless the MSE of a square says little of the two or the image is protected; then it is a
    'bridge', as are images that match another one of the cluster only, and `reason` says why. `rule` says what put the
    keeper before each of the others. The largest cluster is number 0; ties go by the keeper's path, so the numbers do
    not depend on ids. `images` are of schema IMAGES, `matches` are gone through in batches, or a table with at
    least the columns a, b, mse, orientation and score of schema MATCHES; the filters are the pairs that were asked for,
    by a column `hash` of the images too.
    Of pairs that people `decided`, those that are not the same match nothing, those that are the same match up to the
    cutoff. Who matches whom is known when this returns; rows are made some at a time.
    """
    rows, matches = Rows.of(images), Matches.of(matches)
    stands_for = representatives(rows)
    near = _Near(matches, threshold, asked.decided)
    ids = matched(near.pairs, stands_for)
    values = criteria(rows, ids, asked.keeping, None if asked.decided is None else asked.decided.after)
    shots = Shots.of(rows.parts(ids, ["path", "camera", "taken_at"]))
    return _tables(rows, _stars(ids, values, near, stands_for, shots), values, asked)


@dataclass(frozen=True)
class _Near:
    """The pairs that are near enough, as `Pairs` has them: by their score, or as people decided."""

    matches: Matches
    threshold: float
    decided: Decided | None
    shots: Shots | None = None

    @property
    def pairs(self) -> Pairs:
        return Pairs(self, self.matches.window_bytes)

    @property
    def copies(self) -> Pairs | None:
        """The pairs that may be copies of each other; None where nothing says that some are not."""
        return None if self.shots is None else Pairs(_Copies(self, self.shots), self.matches.window_bytes)

    def __iter__(self) -> Iterator[tuple[Ints, Ints, Float64s]]:
        for batch in self.batches():
            yield batch.a, batch.b, batch.score

    def batches(self) -> Iterator[Batch]:
        for batch in self.matches:
            near = batch.score <= self.threshold
            if self.decided is not None:
                near = near | self.decided.are_same(batch.a, batch.b)
                near &= ~self.decided.are_apart(batch.a, batch.b)
            yield batch.rows(near)


@dataclass(frozen=True)
class _Copies:
    """Those of the pairs that are near whose two may be copies of each other, or are, as people decided."""

    near: _Near
    shots: Shots

    def __iter__(self) -> Iterator[tuple[Ints, Ints, Float64s]]:
        for a, b, mse, score, _ in self.near.batches():
            apart = (mse > 0) & (self.shots.two_moments(a, b) | self.shots.one_edit(a, b))
            if self.near.decided is not None:
                apart &= ~self.near.decided.are_same(a, b)
            yield a[~apart], b[~apart], score[~apart]


class _Stars(NamedTuple):
    """Images beside their keepers, (k,) each, cluster by cluster; places are those in the values of `criteria`."""

    cluster: Ints
    image: Ints
    keeper: Ints
    place: Ints
    its_place: Ints
    distance: Float64s
    near: Bools
    turn: npt.NDArray[np.int8]

    def rows(self, part: slice) -> "_Stars":
        return _Stars._make(column[part] for column in self)


def _stars(ids: Ints, values: Mapping[str, Ints], near: _Near, stands_for: Ints, shots: Shots) -> _Stars:
    """Of images with these ids, ascending. What is of all images is as narrow as `stands_for` is."""
    narrow, images = stands_for.dtype, len(stands_for)
    rank = ranked(values)
    near = replace(near, shots=shots.by_set(ids, rank, stands_for))
    keeper = keepers_of(ids.astype(narrow), rank, near.pairs, stands_for, near.copies)
    its_place = np.searchsorted(ids, keeper).astype(narrow)
    # The keeper leads its cluster, also where a bridge is better: one that is no copy of the copies it goes with.
    place = np.lexsort((rank, ids != keeper, rank[its_place])).astype(narrow)
    number = numbers_by_size((ids == keeper)[place], values["path"][place]).astype(narrow)
    order = np.argsort(number, kind="stable")
    place, number = place[order], number[order]
    image, keeper, its_place = ids[place].astype(narrow), keeper[place], its_place[place]
    del ids, rank, order
    distance, score, turn = of_pairs(near.matches, *_listed(image, keeper, stands_for), images)
    first = image == keeper
    distance[first] = score[first] = 0.0
    return _Stars(number, image, keeper, place, its_place, distance, score <= near.threshold, turn)


def _tables(images: Rows, stars: _Stars, values: Mapping[str, Ints], asked: Asked) -> Iterator[pa.Table]:
    """Rows of schema CLUSTERS, some at a time."""
    for start in range(0, len(stars.image), _READ_AT_ONCE):
        here = stars.rows(slice(start, start + _READ_AT_ONCE))
        here = here._replace(image=here.image.astype(np.int64), keeper=here.keeper.astype(np.int64))
        ids, at = np.unique(np.append(here.image, here.keeper), return_inverse=True)
        some = images.take(ids, [name for name in images.schema.names if name in _READ]).combine_chunks()
        pairs = np.split(at, 2)
        for begin in range(0, len(here.image), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            yield _table(some, here.rows(part), (pairs[0][part], pairs[1][part]), values, asked)


def _table(
    some: pa.Table, stars: _Stars, pairs: tuple[Ints, Ints], values: Mapping[str, Ints], asked: Asked
) -> pa.Table:
    """Some rows of schema CLUSTERS; `pairs` are images and keepers by their places in a table of schema IMAGES."""
    protected = asked.keeping.protected(some)
    told = Told(stars.near, stars.distance == 0, stars.turn)
    reason = reasons(some, pairs, told, asked.filters, protected)
    if asked.decided is not None:
        reason = decided_reasons(reason, (stars.image, stars.keeper), np.isfinite(stars.distance), asked.decided)
    rule = deciding_rules(values, stars.place, stars.its_place)
    first = stars.image == stars.keeper
    return pa.table(
        {
            "cluster": stars.cluster,
            "image": stars.image,
            **{name: some[name].take(pa.array(pairs[0])) for name in ("path", "path_raw")},
            "role": pa.array(np.where(first, "keep", np.where(reason == "", "duplicate", "bridge")), pa.string()),
            "keeper": stars.keeper,
            "mse_to_keeper": pa.array(stars.distance, mask=np.isinf(stars.distance)),
            "reason": pa.array(reason, pa.string(), mask=reason == ""),
            "rule": pa.array(rule, pa.string(), mask=rule == ""),
            "compared": compared_values(some, pairs, rule),
        },
        schema=CLUSTERS,
    )


def _listed(image: Ints, keeper: Ints, stands_for: Ints) -> tuple[Ints, Ints]:
    """The pairs whose rows say how far images are from their keepers.

    Those are of the images that stand for the two; of one set, any two are as far apart as each is from the first.
    """
    x, y = stands_for[image], stands_for[keeper]
    return x, np.where(x != y, y, np.where(image != x, image, keeper))


def numbers_by_size(first: Bools, path_rank: Ints) -> Ints:
    """The number of each row's cluster, where `first` is its keeper: 0 the largest, ties by the keeper's path."""
    sizes = np.diff(np.flatnonzero(first), append=len(first))
    number = np.empty(len(sizes), np.int64)
    number[np.lexsort((path_rank[first], -sizes))] = np.arange(len(sizes))
    return np.repeat(number, sizes)
