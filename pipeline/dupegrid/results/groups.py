"""Clusters as a person decides them: groups of pictures that differ, by the bytes they would free. Pure, by columns."""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import shown_path
from dupegrid.pairs.ask import numbered
from dupegrid.results.drawn.page import ROLES, order_of
from dupegrid.results.relations import relations_of
from dupegrid.storage.words import RELATIONS, RULES

# What is read of images.parquet: the million rows of a large run take a third of a second then.
COLUMNS: Final = (
    *("id", "path_raw", "size_bytes", "mtime_ns", "device", "inode", "link_kind", "file_hash", "status"),
    *("width", "height", "format", "camera", "taken_at", "latitude", "has_icc"),
)
OF_CLUSTERS: Final = ("cluster", "image", "role", "keeper", "mse_to_keeper", "reason", "rule", "compared")
MOST: Final = 400  # pictures of a group that are sent at once, those that nobody has decided first
_TEXT_LENGTH: Final = 4096


@dataclass(frozen=True)
class Filter:
    """Which groups are asked for: those with a picture that all of these hold of; '' for any."""

    text: str = ""  # in the path of any picture of the group
    folder: str = ""  # which any picture of the group lies under
    role: str = ""
    rule: str = ""
    relation: str = ""
    decided: bool = False  # those that are decided too

    @classmethod
    def of(cls, given: Any) -> "Filter":
        """From what a page says. UsageError where it is none."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        if not isinstance(given, dict) or not all(type(value) is kinds.get(name) for name, value in given.items()):
            raise UsageError("this is no filter")
        made = cls(**given)
        for value, words in ((made.role, ROLES), (made.rule, RULES), (made.relation, RELATIONS)):
            if value and value not in words:
                raise UsageError("a filter names what is not known")
        if max(len(made.text), len(made.folder)) > _TEXT_LENGTH:
            raise UsageError("a filter is too long")
        return made


@dataclass(frozen=True)
class Groups:
    """Groups in their order: group g has the rows first[g] to first[g + 1], the one to keep before bridges, duplicates.

    Pictures that are equal byte for byte are one row, the first of them; clusters of such alone are no groups.
    """

    images: pa.Table  # the columns COLUMNS, row number = id
    rows: pa.Table  # the columns OF_CLUSTERS
    first: Ints  # (g + 1,)
    freed: Ints  # bytes, (g,)
    copies: Ints  # of each row: how many more files of its cluster hold the same, (k,)
    relation: Ints  # of each row with the one to keep, its place among RELATIONS; -1 where nobody looked, (k,)
    equal_clusters: int  # that hold equal files alone: there is nothing to look at
    equal_bytes: int  # that these would free

    def __len__(self) -> int:
        return len(self.first) - 1

    def ids(self, group: int) -> Ints:
        """The images of a group, the one to keep first."""
        return self.rows["image"].slice(self.first[group], self.first[group + 1] - self.first[group]).to_numpy()  # type: ignore[no-any-return]

    @property
    def group_of(self) -> Ints:
        """The group of each row, (k,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))


def rows_of_first(clusters: pa.Table, freed: Ints, most: int) -> Ints:
    """The rows of those clusters that free the most, at most so many."""
    label = clusters["cluster"].to_numpy()
    of_cluster = np.bincount(label, freed)
    return np.flatnonzero(np.isin(label, np.argsort(-of_cluster, kind="stable")[:most]))


def groups_of(images: pa.Table, clusters: pa.Table, freed: Ints, relations: pa.Table | None) -> Groups:
    """The groups of a run: of images.parquet COLUMNS, of clusters.parquet OF_CLUSTERS, what each of these rows frees,
    and where there is that table RELATIONS_TABLE.
    """
    order = order_of(clusters, freed)
    label, image = clusters["cluster"].to_numpy()[order], clusters["image"].to_numpy()[order]
    starts = np.diff(label, prepend=-1) != 0
    group, content = np.cumsum(starts) - 1, _content(images, image)
    key = group * (content.max(initial=0) + 1) + content
    _, kept, count = np.unique(key, return_index=True, return_counts=True)
    ordered = np.argsort(kept)
    kept, count = kept[ordered], count[ordered]
    of_group = np.bincount(group, freed[order]).astype(np.int64)
    several = np.bincount(group[kept]) > 1
    differ = several[group[kept]]
    kept, count = kept[differ], count[differ]
    rows = clusters.take(pa.array(order[kept])).combine_chunks()
    return Groups(
        images=images,
        rows=rows,
        first=np.append(np.flatnonzero(np.diff(group[kept], prepend=-1)), len(kept)),
        freed=of_group[several],
        copies=count - 1,
        relation=_relations(rows, relations),
        equal_clusters=int((~several).sum()),
        equal_bytes=int(of_group[~several].sum()),
    )


def chosen(groups: Groups, asked: Filter, finished: Bools) -> tuple[Ints, Bools]:
    """The groups that a filter asks for, in their order, and the rows of these that it is about, (k,).

    `finished`, (g,), are those that are decided.
    """
    about = np.ones(len(groups.rows), bool)
    about[groups.first[:-1]] = False
    for name in ("role", "rule"):
        if value := getattr(asked, name):
            about &= pc.equal(groups.rows[name], value).fill_null(False).to_numpy()
    if asked.relation:
        about &= groups.relation == list(RELATIONS).index(asked.relation)
    here = np.ones(len(groups), bool)
    for match in (about, *_on_paths(groups, asked)):
        here &= np.logical_or.reduceat(match, groups.first[:-1])
    if not asked.decided:
        here &= ~finished
    return np.flatnonzero(here), about & here[groups.group_of]


def counts(groups: Groups) -> dict[str, dict[str, int]]:
    """How many rows there are of each word that a filter may name: word -> rows, by column."""
    others = np.ones(len(groups.rows), bool)
    others[groups.first[:-1]] = False
    rows = groups.rows.filter(pa.array(others))
    found: dict[str, dict[str, int]] = {}
    for name in ("role", "rule"):
        counted = pc.value_counts(rows[name].drop_null()).to_pylist()
        found[name] = {entry["values"]: entry["counts"] for entry in counted}
    of_relation = np.bincount(groups.relation[others] + 1, minlength=len(RELATIONS) + 1)[1:]
    found["relation"] = {word: int(count) for word, count in zip(RELATIONS, of_relation, strict=True) if count}
    return found


def members(groups: Groups, group: int, undecided: Bools) -> tuple[list[dict[str, Any]], int]:
    """What is said of the pictures of a group, at most MOST of them, the one to keep first; and how many are left out.

    `undecided`, (rows of the group,), says which come before others where there are more.
    """
    start, end = groups.first[group : group + 2]
    rows = np.arange(start, end)
    if len(rows) > MOST:
        rows = np.concatenate([rows[:1], rows[1:][undecided[1:]], rows[1:][~undecided[1:]]])
    left_out, rows = max(0, len(rows) - MOST), rows[:MOST]
    of_cluster = groups.rows.take(pa.array(rows)).to_pylist()
    images = groups.images.take(groups.rows["image"].take(pa.array(rows))).to_pylist()
    return [
        _member(row, image, int(groups.copies[k]), int(groups.relation[k]))
        for k, row, image in zip(rows, of_cluster, images, strict=True)
    ], left_out


def _member(row: dict[str, Any], image: dict[str, Any], copies: int, relation: int) -> dict[str, Any]:
    head, _, tail = image["path_raw"].rpartition(b"/")
    metadata = {"date": image["taken_at"] is not None, "gps": image["latitude"] is not None, "icc": image["has_icc"]}
    return {
        "id": row["image"],
        "name": shown_path(tail),
        "folder": shown_path(head),
        **{name: image[name] for name in ("width", "height", "format")},
        "bytes": image["size_bytes"],
        "camera": image["camera"] and shown_path(image["camera"].encode("utf-8", "backslashreplace")),
        "taken": image["taken_at"] and image["taken_at"].isoformat(" "),
        "changed": image["mtime_ns"] // 1_000_000_000 or None,
        "metadata": ", ".join(name for name, there in metadata.items() if there),
        **{name: row[name] for name in ("role", "reason", "rule", "compared")},
        "relation": list(RELATIONS)[relation] if relation >= 0 else None,
        "copies": copies,
    }


def _content(images: pa.Table, image: Ints) -> Ints:
    """A number for each image, equal where the bytes of the files are; a file without a hash is equal to none."""
    codes = numbered(images["file_hash"].take(pa.array(image)))
    return np.where(codes < 0, len(codes) + np.arange(len(codes)), codes)


def _relations(rows: pa.Table, relations: pa.Table | None) -> Ints:
    if relations is None:
        return np.full(len(rows), -1, np.int64)
    words = relations_of(rows["image"].to_numpy(), rows["keeper"].to_numpy(), relations)
    return pc.index_in(words, pa.array(list(RELATIONS))).fill_null(-1).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _on_paths(groups: Groups, asked: Filter) -> list[Bools]:
    """For each thing that is asked of paths, the rows that it holds of."""
    found = []
    if asked.folder or asked.text:
        paths = groups.images["path_raw"].take(groups.rows["image"])
    if asked.folder:
        under = asked.folder.rstrip("/").encode("utf-8", "backslashreplace") + b"/"
        found.append(pc.starts_with(paths, pattern=under).to_numpy())
    if asked.text:
        text = asked.text.encode("utf-8", "backslashreplace")
        found.append(pc.match_substring(paths, text, ignore_case=True).to_numpy())
    return found
