"""Which pictures are on one side only: in no match with another side. Pure: tables in, a table out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.pairs.batches import Matches
from dupegrid.results.questions.near import near, nearest
from dupegrid.results.schemas import UNIQUE


def unique(images: pa.Table, matches: pa.Table | Matches, threshold: float, is_one_side: bool) -> pa.Table:
    """The pictures that have no near duplicate on another side, by side and path (schema UNIQUE).

    The sides are those of --against, else the PATHs; where a run has one, those without any near duplicate.
    Files that could not be read are in no match and in no row. `images` is a table of schema IMAGES, `matches` has at
    least the columns a, b and score of schema MATCHES.
    """
    pairs = near(images, matches, threshold)
    side = sides_of(images)
    alone = pairs.ok.copy()
    for number in np.unique(side[pairs.ok]).tolist():
        found = np.isfinite(nearest(pairs, side == number)[0])
        alone &= ~(found & ((side != number) | is_one_side))
    ids = np.flatnonzero(alone)
    rows = images.take(pa.array(ids)).rename_columns({"id": "image"}).select(UNIQUE.names).cast(UNIQUE)
    by_path = rows.append_column("side", pa.array(side[ids]))
    return rows.take(pc.sort_indices(by_path, [("side", "ascending"), ("path_raw", "ascending")]))


def sides_of(images: pa.Table) -> Ints:
    """The side of each image, int64 (n,): 0 and 1 for the groups of --against, else the number of its PATH; or -1."""
    if images["group"].null_count == len(images):
        return images["root"].fill_null(-1).to_numpy().astype(np.int64)  # type: ignore[no-any-return]
    return np.where(pc.equal(images["group"], "a").fill_null(False).to_numpy(), 0, 1)
