"""Clusters -> what may be done with their files. Pure: tables in, a table out, nothing is looked at on disk.

A file goes only for a keeper that it matches directly, and no other name of a keeper goes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints
from dupegrid.images.facts import IDENTITY
from dupegrid.plans.actions import LINKS
from dupegrid.results.relations import relations_of
from dupegrid.storage.schemas import PLAN

# Folders that an application shows as one file, and whose files it finds by a database: Photos, iPhoto, Aperture,
# Lightroom, Capture One.
_IN_LIBRARY: Final = rb"(?i)\.(photoslibrary|photolibrary|migratedphotolibrary|aplibrary|lrlibrary|lrdata|cocatalog)/"
_OF_IMAGE: Final = ("path", "path_raw", *IDENTITY, "file_hash")
# What a file may have that its keeper lacks. An earlier mtime is said, and stops nothing: copies often have one.
_METADATA: Final = {"date": "taken_at", "gps": "latitude", "icc": "has_icc", "camera": "camera", "rating": "rating"}

OF_PLANS: Final = ("id", "status", "link_kind", *_OF_IMAGE, *_METADATA.values())  # columns of images that a plan needs


@dataclass(frozen=True)
class Totals:
    """A plan in a few numbers."""

    files: int  # that would go
    freed_bytes: int  # by them, a file under several names once, and only where all of its names go
    by_rule: dict[str, int]  # files that would go, by the rule that put their keeper before them
    sidecars: int  # of these files, those that go with their picture
    kept: dict[str, int]  # files that stay, by the reason
    lost: dict[str, int]  # files that would go, by what they have and their keepers lack, but an earlier mtime


def plan_of(images: pa.Table, clusters: pa.Table, relations: pa.Table | None, action: str, here: Bools) -> pa.Table:
    """A row an image of a cluster that is not its keeper (schema PLAN): it goes by `action`, or why it is kept.

    `images`, `clusters` and `relations` are tables of schema IMAGES, CLUSTERS and RELATIONS_TABLE; `here`, bool (n,),
    says by id which images are files in a folder of this machine.
    """
    rows = clusters.filter(pc.not_equal(clusters["role"], "keep"))
    image, keeper = rows["image"].to_numpy(), rows["keeper"].to_numpy()
    own = {name: images[name].take(rows["image"]) for name in _OF_IMAGE}
    its = {f"keeper_{name}": images[name].take(rows["keeper"]) for name in _OF_IMAGE}
    told = rows["reason"].combine_chunks().dictionary_encode()
    words = [None, "elsewhere", "link", "library", "keeper_name", "not_equal", *told.dictionary.to_pylist()]
    code = np.select(
        [
            pc.is_valid(rows["reason"]).to_numpy(),
            ~(here[image] & here[keeper]),
            pc.equal(images["link_kind"].take(rows["image"]), "symbolic").fill_null(False).to_numpy(),
            pc.match_substring_regex(own["path_raw"], _IN_LIBRARY).to_numpy(),
            _one_file(images, image, clusters),
            pc.not_equal(own["file_hash"], its["keeper_file_hash"]).fill_null(True).to_numpy() & (action in LINKS),
        ],
        [6 + told.indices.fill_null(0).to_numpy(), 1, 2, 3, 4, 5],
        0,
    )
    nothing = pa.nulls(len(rows))
    columns = {
        "action": pc.if_else(pa.array(code == 0), action, "keep"),
        "reason": pa.array(words, pa.string()).take(pa.array(code)),
        "cluster": rows["cluster"],
        "image": rows["image"],
        "goes_with": nothing,
        "keeper": rows["keeper"],
        "mse": rows["mse_to_keeper"],
        "relation": nothing if relations is None else relations_of(image, keeper, relations),
        "rule": rows["rule"],
        "compared": rows["compared"],
        "lost_metadata": lost_metadata(images, image, keeper),
        **own,
        **its,
    }
    return pa.table(columns, schema=PLAN)


def kept(plan: pa.Table, stay: Bools, reason: str) -> pa.Table:
    """The same plan, of which those files that would go and should `stay`, bool (rows,), are kept for this reason."""
    stay = stay & pc.not_equal(plan["action"], "keep").to_numpy()
    for name, value in (("action", "keep"), ("reason", reason)):
        column = pc.if_else(pa.array(stay), pa.scalar(value), plan[name])
        plan = plan.set_column(plan.column_names.index(name), PLAN.field(name), column)
    return plan


def lost_metadata(images: pa.Table, image: Ints, keeper: Ints) -> pa.Array:
    """What each image has and its keeper lacks, ids (k,) each: 'date, gps', or null."""
    words, code = [*_METADATA, "mtime"], np.zeros(len(image), np.int8)
    for bit, name in enumerate(_METADATA.values()):
        has, has_not = (_has(images[name].take(pa.array(ids))) for ids in (image, keeper))
        code |= (has & ~has_not).astype(np.int8) << bit
    its, other = (images["mtime_ns"].take(pa.array(ids)).fill_null(0).to_numpy() for ids in (image, keeper))
    code |= ((its > 0) & (its < other)).astype(np.int8) << len(_METADATA)
    lost = [[word for bit, word in enumerate(words) if number >> bit & 1] for number in range(1 << len(words))]
    return pa.array([", ".join(some) or None for some in lost], pa.string()).take(pa.array(code))


def loses_metadata(plan: pa.Table) -> Bools:
    """Which files have what cannot be had from their keepers: anything but an earlier mtime."""
    lost = plan["lost_metadata"]
    return np.asarray(pc.and_(pc.is_valid(lost), pc.not_equal(lost, "mtime")).fill_null(False).to_numpy(), bool)


def between_folders(plan: pa.Table, inside: bytes, other: bytes) -> Bools:
    """Which files lie in or below one folder and their keepers in or below another."""
    own, its = (
        pc.starts_with(plan[name], folder.rstrip(b"/") + b"/").fill_null(False).to_numpy()
        for name, folder in (("path_raw", inside), ("keeper_path_raw", other))
    )
    return np.asarray(own & its, bool)


def totals_of(plan: pa.Table, images: pa.Table) -> Totals:
    """What a plan would do, in numbers."""
    goes = plan.filter(pc.not_equal(plan["action"], "keep"))
    stays = plan.filter(pc.equal(plan["action"], "keep"))
    linked = images.filter(pc.and_(pc.equal(images["link_kind"], "hard"), pc.not_equal(images["status"], "removed")))
    left = linked
    if len(linked):
        left = linked.filter(pc.invert(pc.is_in(linked["path_raw"], goes["path_raw"].combine_chunks())))
    words = Counter[str]()
    for text, count in _counted(goes["lost_metadata"]).items():
        words.update(dict.fromkeys(text.split(", ") if text else [], count))
    del words["mtime"]
    rules = {"together" if rule is None else rule: count for rule, count in _counted(goes["rule"]).items()}
    return Totals(
        files=len(goes),
        freed_bytes=_freed(goes, left),
        by_rule=dict(Counter(rules).most_common()),
        sidecars=goes["image"].null_count,
        kept=dict(_counted(stays["reason"]).most_common()),
        lost=dict(words.most_common()),
    )


def _counted(values: pa.ChunkedArray) -> Counter[Any]:
    """How many of which there are, in the order in which they come."""
    return Counter({row["values"]: row["counts"] for row in pc.value_counts(values).to_pylist()})


def _freed(goes: pa.Table, left: pa.Table) -> int:
    """The bytes of files that go, a file once, whatever its names; not at all where one of these is left."""
    device, inode, size_bytes = (goes[name].fill_null(-1).to_numpy() for name in ("device", "inode", "size_bytes"))
    order = np.lexsort((inode, device))
    other = (np.diff(device[order], append=-2) != 0) | (np.diff(inode[order], append=-2) != 0)
    rows = order[other]
    stay = set(zip(left["device"].to_pylist(), left["inode"].to_pylist(), strict=True))
    maybe = np.flatnonzero(np.isin(inode[rows], left["inode"].fill_null(-1).to_numpy()))
    stays = [(device[row], inode[row]) in stay for row in rows[maybe].tolist()]
    return int(size_bytes[np.delete(rows, maybe[np.array(stays, bool)])].sum())


def _one_file(images: pa.Table, image: Ints, clusters: pa.Table) -> Bools:
    """Which images are other names of a file that is the keeper of a cluster."""
    device, inode = (images[name].fill_null(0).to_numpy() for name in ("device", "inode"))
    keepers = np.unique(clusters["keeper"].to_numpy())
    rows = np.flatnonzero(np.isin(inode[image], inode[keepers]))  # few, as files have inodes of their own

    def names(ids: Ints) -> Iterator[tuple[int, int, str]]:
        hashes = images["file_hash"].take(pa.array(ids)).fill_null("").to_pylist()
        return zip(device[ids].tolist(), inode[ids].tolist(), hashes, strict=True)

    known = set(names(keepers[np.isin(inode[keepers], inode[image[rows]])]))
    found = np.zeros(len(image), bool)
    found[rows] = [name in known for name in names(image[rows])]
    return found


def _has(values: pa.ChunkedArray) -> Bools:
    known = values.fill_null(False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
    return np.asarray(known.to_numpy(), bool)
