"""Which image is compared for others: one of the names of a file, and one of a large set of identical thumbnails."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.arrays import Ints
from dupegrid.config import Config
from dupegrid.records import IMAGES


def set_keys(config: Config) -> list[str]:
    """The columns whose values are one in a set of identical thumbnails.

    What pairs are asked for must not depend on the representative: so a set never spans the two sides of an A-versus-B
    run nor, where it matters, two roots or two sizes.
    """
    by_root = ["root"] if config.scope != "all" else []
    by_size = ["width", "height"] if config.same_size or config.max_aspect is not None else []
    return ["group", *by_root, *by_size]


def with_representatives(parts: pa.Table, keys: list[str], collapse_over: int) -> pa.Table:
    """Fill link_of and identical_to: schema IMAGE_PART -> IMAGES, whole tables.

    identical_to names the image that is compared for others: of the names of one file the one with the lowest id, and
    in sets of more than `collapse_over` images with equal thumbnails the lowest id of all.
    """
    ok = pc.equal(parts["status"], "ok")
    link = _lowest(parts, ok, ["device", "inode", "file_hash", *keys], 1)
    alike = _lowest(parts, ok, ["thumb_hash", *keys], collapse_over)
    for name, column in (("link_of", link), ("identical_to", np.where(alike >= 0, alike, link))):
        parts = parts.append_column(name, pa.array(column, mask=column < 0))
    return parts.select(IMAGES.names).cast(IMAGES)


def _lowest(images: pa.Table, ok: pa.ChunkedArray, keys: list[str], over: int) -> Ints:
    """By id, int64 (n,): the lowest id of a set of more than `over` ok images with the same keys, -1 on that one."""
    wanted = images.select(["id", *keys]).filter(ok)
    sets = wanted.group_by(keys).aggregate([("id", "min"), ("id", "count"), ("id", "list")])
    out = np.full(len(images), -1, np.int64)
    for entry in sets.filter(pc.field("id_count") > over).select(["id_min", "id_list"]).to_pylist():
        members = np.array(entry["id_list"])
        out[members[members != entry["id_min"]]] = entry["id_min"]
    return out
