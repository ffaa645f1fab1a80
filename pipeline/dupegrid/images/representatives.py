"""Which image is compared for others: one of the names of a file, and one of a large set of identical thumbnails."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.config import Config
from dupegrid.storage.schemas import IMAGE_PART, IMAGES

Rows = Callable[[list[str] | None], Iterator[pa.Table]]


def set_keys(config: Config) -> list[str]:
    """The columns whose values are one in a set of identical thumbnails.

    What pairs are asked for must not depend on the representative: so a set never spans the two sides of an A-versus-B
    run nor, where it matters, two roots or two sizes.
    """
    by_root = ["root"] if config.scope != "all" else []
    by_size = ["width", "height"] if config.same_size or config.max_aspect is not None else []
    return ["group", *by_root, *by_size]


def with_representatives(rows: Rows, keys: list[str], collapse_over: int) -> Iterator[pa.Table]:
    """Fill link_of and identical_to: tables of schema IMAGE_PART -> IMAGES, one after the other.

    identical_to names the image that is compared for others: of the names of one file the one with the lowest id, and
    in sets of more than `collapse_over` images with equal thumbnails the lowest id of all. `rows` gives the tables, all
    columns of them or some, by ascending id; it is called up to three times, so that all are never held at once.
    """
    suspects = _suspects(rows, keys, collapse_over)
    ids = suspects["id"].to_numpy()
    few = suspects.set_column(0, "id", pa.array(np.arange(len(ids))))
    link, first = file_names(few, keys)
    alike = _lowest(few, ["thumb_hash", *keys], collapse_over)
    filled = {"link_of": link, "identical_to": np.where(alike >= 0, alike, first)}
    for table in rows(None):
        own = table["id"].to_numpy()
        here = slice(*np.searchsorted(ids, [own[0], own[-1] + 1]).tolist()) if len(own) else slice(0)
        for name, places in filled.items():
            column = np.full(len(table), -1, np.int64)
            column[ids[here] - own[0]] = np.where(places[here] >= 0, ids[places[here]], -1)
            table = table.append_column(name, pa.array(column, mask=column < 0))
        yield table.select(IMAGES.names).cast(IMAGES)


def _suspects(rows: Rows, keys: Sequence[str], over: int) -> pa.Table:
    """Few images among which are all of sets of more than `over`, and all names of files of several; by id.

    Thumbnails whose hashes begin alike are suspected: to know which these are takes 8 bytes an image.
    """
    begun, linked = [np.empty(0, np.uint64)], set[int]()
    for table in rows(["status", "thumb_hash", "inode", "link_kind"]):
        begun.append(_beginnings(table.filter(pc.equal(table["status"], "ok"))))
        linked.update(table["inode"].filter(pc.is_valid(table["link_kind"])).to_pylist())
    values, counts = np.unique(np.concatenate(begun), return_counts=True)
    often, inodes = values[counts > over], pa.array(sorted(linked), pa.int64())
    names = list(dict.fromkeys(["id", "status", "thumb_hash", "file_hash", "device", "inode", "link_kind", *keys]))
    if not len(often) and not len(inodes):
        return pa.schema([IMAGE_PART.field(name) for name in names]).empty_table()
    found = []
    for table in rows(names):
        wanted = np.isin(_beginnings(table), often) | pc.is_in(table["inode"], inodes).to_numpy()
        found.append(table.filter(pa.array(wanted)))
    return pa.concat_tables(found)


def _beginnings(table: pa.Table) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of the hash of each thumbnail, as a number; 0 where there is none."""
    hashes = pc.fill_null(table["thumb_hash"], b"").to_numpy()
    return hashes.astype("S8").view(np.uint64)  # type: ignore[no-any-return]


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
        least = min([name, *others])
        lowest[[id for id in (name, *others) if id != least]] = least
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
