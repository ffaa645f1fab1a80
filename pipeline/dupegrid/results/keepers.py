"""Which picture is kept, by an ordered list of rules. Pure: a table in, ranks and words out.

By default the original comes before what was made from it (decisions/0017).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints, id_dtype
from dupegrid.core.config import Config
from dupegrid.results.rows import Rows
from dupegrid.results.rules import COLUMNS, SHOWN, VALUES, in_folder, path_rank

_FIRST: Final = ("link", "protected", "archive", "decided")  # before all that is asked for: what must not go
_DEFAULT: Final = ("camera", "pixels", "format", "icc", "name", "taken", "older", "bytes", "shortest", "path")
_STAND_FOR: Final = {"oldest": ("taken", "older"), "newest": ("newer",), "default": ()}


@dataclass(frozen=True)
class Keeping:
    """How keepers are chosen, and which images are never duplicates."""

    rules: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> "Keeping":
        """What a configuration asks for."""
        return cls(config.keep, config.protect, config.only)

    def criteria(self) -> list[str]:
        """The rules in the order in which they decide, each once: what is asked for before the default.

        The guard of 'pixels unless gps' is a rule that decides before it: no picture with coordinates is lost to one
        without.
        """
        asked = [name for rule in self.rules for name in reversed(rule.split(" unless "))]
        plain = [name for rule in asked for name in _STAND_FOR.get(rule, (rule,))]
        return list(dict.fromkeys((*_FIRST, *plain, *_DEFAULT)))

    def protected(self, images: pa.Table) -> Bools:
        """Which images are never duplicates, bool (n,): those under --protect, and with --only those not under it."""
        known = _under(images, self.protect)
        return known | ~_under(images, self.only) if self.only else known

    def nothing_under(self, images: Rows) -> list[str]:
        """The places of --protect and --only that no image lies under: a word was misspelt, or a disk is not there."""
        places = dict.fromkeys((*self.protect, *self.only))
        parts = images.each(["path_raw"]) if places else ()
        found = {place for part in parts for place in places if _under(part, [place]).any()}
        return [place for place in places if place not in found]


def criteria(images: pa.Table | Rows, ids: Ints, keeping: Keeping, after: Ints | None = None) -> dict[str, Ints]:
    """What decides which of two images is kept, the first thing first, the smaller value before the larger.

    `images` are of schema IMAGES, `ids` int64 (n,) are some of them, ascending, the values integers (n,) in as few
    bytes as hold them. No two images are equal in the last. `after` says by id how many somebody kept over each.
    """
    images, asked = Rows.of(images), keeping.criteria()
    found: dict[str, list[Ints]] = {rule: [np.empty(0, np.int8)] for rule in asked}
    found["decided"] = [np.zeros(len(ids), np.int8) if after is None else _narrow(after[ids])]
    found["path"] = [_path_ranks(images, ids)]
    for rows in images.parts(ids, COLUMNS):
        for rule in asked:
            if rule not in ("decided", "path"):
                found[rule].append(_narrow(_values(rows, rule, keeping)))
    return {rule: np.concatenate(found.pop(rule)) for rule in asked}


def _path_ranks(images: Rows, ids: Ints) -> Ints:
    """The place of the path of each of some images among them; all paths are held here, and nothing else."""
    pieces = [piece for rows in images.parts(ids, ["path_raw"]) for piece in rows["path_raw"].chunks]
    ranks = _narrow(path_rank(pa.chunked_array(pieces, pa.binary())))
    pieces.clear()
    pa.default_memory_pool().release_unused()
    return ranks


def _values(rows: pa.Table, rule: str, keeping: Keeping) -> Ints:
    name, _, glob = rule.partition(":")
    if name == "protected":
        return 1 - keeping.protected(rows).astype(np.int64)
    return in_folder(rows, glob) if name == "folder" else VALUES[name](rows)


def _narrow(values: Ints) -> Ints:
    """Values in as few bytes as hold them: most are 0 and 1."""
    low, high = values.min(initial=0), values.max(initial=0)
    kinds = (np.iinfo(kind) for kind in (np.int8, np.int16, np.int32, np.int64))
    return values.astype(next(kind.dtype for kind in kinds if kind.min <= low and high <= kind.max), copy=False)


def ranked(values: Mapping[str, Ints]) -> Ints:
    """The place of each of the images among all of them, the best keeper first: (n,), int32 where that holds it."""
    order = np.lexsort(list(values.values())[::-1])
    rank: Ints = np.empty(len(order), id_dtype(len(order)))
    rank[order] = np.arange(len(order))
    return rank


def deciding_rules(values: Mapping[str, Ints], places: Ints, keepers: Ints) -> npt.NDArray[np.str_]:
    """The first of the criteria in which an image differs from its keeper; '' where that puts no keeper before it.

    So of an image and itself, and of a bridge that is better. Both are named by their places in the values, int64 (k,).
    """
    pairs = [(some[places], some[keepers]) for some in values.values()]
    differ = [own != its for own, its in pairs]
    found = np.select(differ, [rule.partition(":")[0] for rule in values], "")
    return np.where(np.select(differ, [own > its for own, its in pairs], False), found, "")


def compared_values(images: pa.Table, pairs: tuple[Ints, Ints], rule: npt.NDArray[np.str_]) -> pa.Array:
    """What the rule of each pair (image, keeper), ids (k,) each, compared: '4000 x 3000 over 640 x 480', or null."""
    text = np.full(len(rule), None, object)
    for name in np.unique(rule):
        shown = SHOWN.get(str(name))
        if shown is not None:
            rows = np.flatnonzero(rule == name)
            its, other = (shown(images.select(COLUMNS).take(pa.array(ids[rows]))) for ids in pairs[::-1])
            text[rows] = pc.binary_join_element_wise(its, other, " over ").to_numpy(zero_copy_only=False)
    return pa.array(text, pa.string())


def _under(images: pa.Table, places: Sequence[str]) -> Bools:
    """Which images lie under one of some folders, or are one of some files: bool (n,)."""
    found = np.zeros(len(images), bool)
    for place in places:
        path = os.fsencode(place)
        inside = pc.starts_with(images["path_raw"], path.rstrip(b"/") + b"/")
        found |= pc.or_(inside, pc.equal(images["path_raw"], pa.scalar(path, pa.binary()))).to_numpy()
    return found
