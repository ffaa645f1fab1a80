"""What a run would say at other thresholds, in numbers. Pure: tables in, a table out."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Float64s
from dupegrid.core.config import Config
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import cut_summary
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.decided import Decided
from dupegrid.results.rows import Rows
from dupegrid.results.schemas import CURVE

_STEPS: Final = 24
_LEAST_SHARE: Final = 1e-3  # of the cutoff; under it copies differ by rounding alone


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
