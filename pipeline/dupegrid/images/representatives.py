"""Which image is compared for others: one of the names of a file, and one of a large set of identical thumbnails."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.config import Config
from dupegrid.storage.schemas import IMAGES


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
    link, first = file_names(parts, keys)
    alike = _lowest(parts, ["thumb_hash", *keys], collapse_over)
    for name, column in (("link_of", link), ("identical_to", np.where(alike >= 0, alike, first))):
        parts = parts.append_column(name, pa.array(column, mask=column < 0))
    return parts.select(IMAGES.names).cast(IMAGES)


def file_names(images: pa.Table, keys: Sequence[str] = ()) -> tuple[Ints, Ints]:
    """Of images that are other names of a file, by id: the name it goes by, and its name of the lowest id.

    int64 (n,) each, -1 on that name and on files of one name. A file goes by a name that leads over no symbolic link.
    Names that differ in the columns `keys` are kept apart. That two names have one inode is no proof by itself: where
    a file system gives the same to all, the files say that they have one name each, and most hold other bytes.
    """
    goes_by, lowest = np.full((2, len(images)), -1, np.int64)
    kinds = images["link_kind"].to_pylist()
    linked = images["inode"].filter(pc.is_valid(images["link_kind"])).combine_chunks()
    several = images.filter(pc.is_in(images["inode"], linked))
    for ids in _sets(several, ["device", "inode", "file_hash", *keys], 1):
        name, *others = sorted(ids, key=lambda id: (kinds[id] == "symbolic", id))
        others = [id for id in others if kinds[id] == "symbolic" or kinds[id] == kinds[name] == "hard"]
        goes_by[others] = name
        lowest[[id for id in (name, *others) if id != min(name, *others)]] = min(name, *others) if others else -1
    return goes_by, lowest


def _lowest(images: pa.Table, keys: list[str], over: int) -> Ints:
    """By id, int64 (n,): the lowest id of a set of more than `over` ok images with the same keys, -1 on that one."""
    out = np.full(len(images), -1, np.int64)
    for ids in _sets(images, keys, over):
        members = np.array(ids)
        out[members[members != members.min()]] = members.min()
    return out


def _sets(images: pa.Table, keys: list[str], over: int) -> list[list[int]]:
    """The ids of each set of more than `over` ok images with the same keys."""
    wanted = images.select(["id", *keys]).filter(pc.equal(images["status"], "ok"))
    sets = wanted.group_by(keys).aggregate([("id", "count"), ("id", "list")])
    ids: list[list[int]] = sets.filter(pc.field("id_count") > over)["id_list"].to_pylist()
    return ids
