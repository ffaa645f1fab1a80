"""The bytes that are free on disk when duplicates are gone, a file under several names once. Pure."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints, id_dtype
from dupegrid.images.representatives import file_names
from dupegrid.results.rows import Rows

_NAMED: Final = ("id", "status", "device", "inode", "file_hash", "link_kind")  # what tells the names of a file


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
