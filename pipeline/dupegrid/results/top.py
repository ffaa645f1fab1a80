"""Which clusters take the most space that duplicates of theirs could give back. Pure: tables in, a table out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.images.representatives import file_names
from dupegrid.results.schemas import TOP


def top(images: pa.Table, clusters: pa.Table) -> pa.Table:
    """Clusters by the bytes that are free when their duplicates are gone, the most first (schema TOP).

    A file under several names counts once, and not if one of its names stays: so the sum is the `duplicate_bytes` of
    the run's summary. `images` and `clusters` are tables of schema IMAGES and CLUSTERS.
    """
    number = clusters["cluster"].to_numpy()
    count = int(number.max()) + 1 if len(number) else 0
    freed = freed_by(images, clusters)
    sizes = images["size_bytes"].to_numpy()[clusters["image"].to_numpy()[freed]]
    freed_bytes = np.zeros(count, np.int64)
    np.add.at(freed_bytes, number[freed], sizes)

    def counted(role: str) -> Ints:
        of_role = pc.equal(clusters["role"], role).to_numpy()
        return np.bincount(number[of_role], minlength=count)

    keeper = clusters.filter(pc.equal(clusters["role"], "keep")).sort_by("cluster")["image"]
    kept = images.select(["path", "path_raw", "size_bytes"]).take(keeper)
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
            "freed_files": np.bincount(number[freed], minlength=count),
            "freed_bytes": freed_bytes,
        },
        schema=TOP,
    )
    return table.take(np.lexsort((np.arange(count), -freed_bytes)))


def freed_of(images: pa.Table, clusters: pa.Table) -> Ints:
    """The bytes that each row of `clusters` would free, int64 (k,)."""
    gone = freed_by(images, clusters)
    freed = np.zeros(len(clusters), np.int64)
    freed[gone] = images["size_bytes"].to_numpy()[clusters["image"].to_numpy()[gone]]
    return freed


def freed_by(images: pa.Table, clusters: pa.Table) -> Ints:
    """The rows of `clusters` whose files are gone when all duplicates are: int64 (k,), each file once.

    A file under several names is not gone while one of them stays, as a keeper, a bridge or in no cluster. A symbolic
    link holds nothing.
    """
    name = file_names(images)[0]
    name = np.where(name >= 0, name, np.arange(len(name)))
    is_file = pc.not_equal(images["link_kind"], "symbolic").fill_null(True).to_numpy()
    image = clusters["image"].to_numpy()
    rows = np.flatnonzero(pc.equal(clusters["role"], "duplicate").to_numpy() & is_file[image])
    files, first = np.unique(name[image[rows]], return_index=True)
    stays = is_file.copy()
    stays[image[rows]] = False
    return rows[np.sort(first[~np.isin(files, name[stays])])]
