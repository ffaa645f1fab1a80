"""Which clusters take the most space that duplicates of theirs could give back. Pure: tables in, a table out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.results.freed import freed_of
from dupegrid.results.rows import Rows
from dupegrid.results.schemas import TOP


def top(images: pa.Table | Rows, clusters: pa.Table | Rows) -> pa.Table:
    """Clusters by the bytes that are free when their duplicates are gone, the most first (schema TOP).

    A file under several names counts once, and not if one of its names stays: so the sum is the `duplicate_bytes` of
    the run's summary. `images` and `clusters` are of schema IMAGES and CLUSTERS, a piece of each is held at a time.
    """
    rows = Rows.of(clusters).columns(["cluster", "image", "role"])
    number = rows["cluster"].to_numpy()
    count = int(number.max()) + 1 if len(number) else 0
    freed = freed_of(images, clusters)

    def counted(role: str) -> Ints:
        of_role = pc.equal(rows["role"], role).to_numpy()
        return np.bincount(number[of_role], minlength=count)

    keeper = rows.filter(pc.equal(rows["role"], "keep")).sort_by("cluster")["image"]
    kept = Rows.of(images).pick(keeper.to_numpy(), ["path", "path_raw", "size_bytes"])
    table = pa.table(
        {
            "cluster": np.arange(count),
            "keeper": keeper,
            "path": kept["path"],
            "path_raw": kept["path_raw"],
            "keeper_bytes": kept["size_bytes"],
            "images": np.bincount(number, minlength=count),
            "duplicates": counted("duplicate"),
            "bridges": counted("bridge"),
            "freed_files": np.bincount(number[freed > 0], minlength=count),
            "freed_bytes": np.bincount(number, freed, minlength=count).astype(np.int64),
        },
        schema=TOP,
    )
    return table.sort_by([("freed_bytes", "descending"), ("cluster", "ascending")])
