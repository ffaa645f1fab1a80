"""Which clusters take the most space that duplicates of theirs could give back. Pure: tables in, a table out."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints, id_dtype
from dupegrid.images.representatives import file_names
from dupegrid.results.rows import Rows
from dupegrid.results.schemas import TOP

_NAMED: Final = ("id", "status", "device", "inode", "file_hash", "link_kind")  # what tells the names of a file


def top(images: pa.Table, clusters: pa.Table) -> pa.Table:
    """Clusters by the bytes that are free when their duplicates are gone, the most first (schema TOP).

    A file under several names counts once, and not if one of its names stays: so the sum is the `duplicate_bytes` of
    the run's summary. `images` and `clusters` are tables of schema IMAGES and CLUSTERS.
    """
    number = clusters["cluster"].to_numpy()
    count = int(number.max()) + 1 if len(number) else 0
    freed = freed_of(images, clusters)

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
            "freed_files": np.bincount(number[freed > 0], minlength=count),
            "freed_bytes": np.bincount(number, freed, minlength=count).astype(np.int64),
        },
        schema=TOP,
    )
    return table.sort_by([("freed_bytes", "descending"), ("cluster", "ascending")])


def freed_of(images: pa.Table | Rows, clusters: pa.Table | Rows) -> Ints:
    """The bytes that each row of `clusters` frees when all duplicates are gone, int64 (k,); those of each file once.

    A file under several names is not gone while one of them stays, as a keeper, a bridge or in no cluster. A symbolic
    link holds nothing. `images` and `clusters` are of schema IMAGES and CLUSTERS, a piece of each is held at a time.
    """
    images, clusters = Rows.of(images), Rows.of(clusters)
    name = _goes_by(images)
    is_file: Bools = images.made(
        ["link_kind"], lambda part: pc.not_equal(part["link_kind"], "symbolic").fill_null(True).to_numpy(), bool
    )
    image: Ints = clusters.made(["image"], lambda part: part["image"].to_numpy(), name.dtype)
    duplicate: Bools = clusters.made(["role"], lambda part: pc.equal(part["role"], "duplicate").to_numpy(), bool)
    rows: Ints = np.flatnonzero(duplicate & is_file[image])
    file = name[image[rows]]
    stays = is_file.copy()
    stays[image[rows]] = False
    is_kept = np.zeros(len(images), bool)
    is_kept[name[stays]] = True
    first = np.empty(len(images), id_dtype(len(rows)))
    first[file[::-1]] = np.arange(len(rows))[::-1]  # the last one that is put there is the first
    rows = rows[(first[file] == np.arange(len(rows))) & ~is_kept[file]]
    size_bytes: Ints = images.made(["size_bytes"], lambda part: part["size_bytes"].to_numpy(), np.int64)
    freed = np.zeros(len(image), np.int64)
    freed[rows] = size_bytes[image[rows]]
    return freed


def _goes_by(images: Rows) -> Ints:
    """By id the image whose name the file of each goes by, mostly itself; narrow ids."""
    name: Ints = np.arange(len(images), dtype=id_dtype(len(images)))
    linked = [part["inode"].filter(pc.is_valid(part["link_kind"])) for part in images.each(["inode", "link_kind"])]
    inodes = pc.unique(pa.chunked_array([chunk for column in linked for chunk in column.chunks], pa.int64()))
    if len(inodes):
        parts = (part.filter(pc.is_in(part["inode"], inodes)) for part in images.each(_NAMED))
        several = pa.concat_tables(parts)
        ids = several["id"].to_numpy()
        place = file_names(several.set_column(0, "id", pa.array(np.arange(len(ids)))))[0]
        name[ids[place >= 0]] = ids[place[place >= 0]]
    return name
