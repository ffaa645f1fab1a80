"""Whether splits of a data set share pictures: matrix, label conflicts, curve, cleaned splits. Pure."""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Float64s, Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import Answer
from dupegrid.results.clusters import numbers_by_size
from dupegrid.results.questions.conflicts import conflicting, conflicts
from dupegrid.results.questions.near import Near, crossed, groups, near, nearest, spans
from dupegrid.results.questions.splits import Given
from dupegrid.results.rules import path_rank
from dupegrid.results.schemas import LEAKAGE_CURVE, LEAKAGE_IMAGES, LEAKAGE_MATRIX, LEAKAGE_SPLITS

KEEP: Final = ("train", "test", "neither")
_MOST_SPLITS: Final = 100
_STEPS: Final = 50  # of the curve


@dataclass(frozen=True)
class Leakage(Answer):
    """What splits of a data set share. The tables are of the schemas LEAKAGE_... in results/schemas.py."""

    threshold: float
    keep: str  # the policy by which `images` was cleaned, one of KEEP
    training: str  # the split that is taken for the one of training
    splits: pa.Table
    matrix: pa.Table
    curve: pa.Table
    conflicts: pa.Table
    images: pa.Table
    unknown: int  # rows of the caller's table that name no image

    def __repr__(self) -> str:
        rows = [row for row in self.splits.to_pylist() if not row["is_training"]]
        leaks = (f"{row['leaking']:,} of {row['images']:,} of {row['split']!r} leak" for row in rows)
        return (
            f"Leakage at {self.threshold:g} from {self.training!r}: {', '.join(leaks)}; tables {', '.join(self.tables)}"
        )

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Its tables by name."""
        return {name: getattr(self, name) for name in ("splits", "matrix", "curve", "conflicts", "images")}

    @property
    def worst_percent(self) -> float:
        """Of the splits of evaluation the largest share that has a near duplicate in the split of training."""
        return float(pc.max(self.splits["leaking_percent"]).as_py() or 0.0)

    def as_dict(self) -> dict[str, Any]:
        """All but `images`, which has a row a picture."""
        texts = {
            name: table.drop_columns([n for n in table.column_names if n.startswith("path_raw")]).to_pylist()
            for name, table in self.tables.items()
            if name != "images"
        }
        return {
            "threshold": self.threshold,
            "keep": self.keep,
            "training": self.training,
            "worst_percent": self.worst_percent,
            "without_split": self.images["split"].null_count,
            "unknown": self.unknown,
            "label_conflicts": pc.sum(self.images["label_conflict"]).as_py() or 0,
            **texts,
        }


def leakage(
    images: pa.Table,
    matches: pa.Table | Matches,
    threshold: float,
    given: Given,
    keep: str = "train",
    cutoff: float | None = None,
) -> Leakage:
    """What the splits of a data set share, by pictures at or under a threshold from each other.

    The split of training is the one whose name begins with 'train', else the largest; the others are of evaluation.
    With `keep` 'train' a picture is dropped where a split before its own keeps a near duplicate: training comes first,
    then validation, then the others; with 'test' the other way round; with 'neither' each that has one in another split
    is dropped. So no near duplicates are left in two splits. The curve goes up to the cutoff of the matches.
    `images` is a table of schema IMAGES, `matches` has at least the columns a, b and score of schema MATCHES. Raises
    UsageError where the pictures that were read have fewer than two splits, or over a hundred.
    """
    if keep not in KEEP:
        raise UsageError(f"keep is {keep!r}: use {', '.join(KEEP)}")
    every = near(images, matches, np.inf)
    pairs = every.under(threshold)
    names, code = _coded(given.splits, pairs.ok)
    splits = range(len(names))
    reach = [nearest(pairs, code == split) for split in splits]
    there, who = _elsewhere(reach, code)
    kept = _kept(pairs, code, splits if keep == "train" else splits[::-1], keep == "neither")
    return Leakage(
        threshold=threshold,
        keep=keep,
        training=names[0],
        splits=_splits(names, code, [np.isfinite(reach[0][0]), np.isfinite(there), kept]),
        matrix=_matrix(pairs, names, code, [np.isfinite(score) for score, _ in reach]),
        curve=_curve(every, names, code, (threshold, threshold if cutoff is None else cutoff)),
        conflicts=conflicts(images, pairs, given),
        images=_images(images, pairs, given, (there, who), kept),
        unknown=given.unknown,
    )


def _coded(splits: pa.Array, ok: Bools) -> tuple[list[str], Ints]:
    """The names of the splits of images that were read, and the place among these of each image's: int64 (n,), or -1.

    First the one of training, then those of validation, then the others; the larger ones first.
    """
    many = pc.value_counts(splits.filter(pa.array(ok)).drop_null())
    sizes = dict(zip(*(many.field(name).to_pylist() for name in ("values", "counts")), strict=True))
    if not 2 <= len(sizes) <= _MOST_SPLITS:
        some = ", ".join(map(repr, sorted(sizes)[:3])) or "none"
        raise UsageError(
            f"the pictures have {counted(len(sizes), 'split')} ({some}): name a column or folders with 2 to 100 of them"
        )
    by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
    training = min(by_size, key=lambda name: _kind(name) > 0)  # the largest that is called so, else the largest
    names = [training, *sorted((name for name in by_size if name != training), key=_kind)]
    code = pc.index_in(splits, pa.array(names)).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return names, np.where(ok, code, -1)


def _kind(split: str) -> int:
    """By its name, 0 for a split of training, 1 for one of validation, 2 for others."""
    name = split.casefold()
    return 0 if name.startswith("train") else 1 if name.startswith(("val", "dev")) else 2


def _elsewhere(reach: list[tuple[Float64s, Ints]], code: Ints) -> tuple[Float64s, Ints]:
    """The least score of each image to one in another split, and which that is: as `nearest` gives it."""
    least, who = np.full(len(code), np.inf), np.full(len(code), -1)
    for split, (score, other) in enumerate(reach):
        better = (code >= 0) & (code != split) & ((score < least) | ((score == least) & (other < who)))
        least, who = np.where(better, score, least), np.where(better, other, who)
    return least, who


def _kept(pairs: Near, code: Ints, order: range, neither: bool) -> Bools:
    """Which images a policy keeps, the splits in this order."""
    kept = np.zeros(len(code), bool)
    for split in order:
        others = (code >= 0) & (code != split) if neither else kept.copy()
        kept |= (code == split) & np.isinf(nearest(pairs, others)[0])
    return kept


def _splits(names: list[str], code: Ints, marks: list[Bools]) -> pa.Table:
    """`marks` say of each image: is it near one of training, near one of another split, kept."""
    leaks, elsewhere, kept, count = (
        np.bincount(code[mark & (code >= 0)], minlength=len(names)) for mark in (*marks, code >= 0)
    )
    training = np.arange(len(names)) == 0
    return pa.table(
        {
            "split": names,
            "images": count,
            "is_training": training,
            "leaking": pa.array(leaks, mask=training),
            "leaking_percent": pa.array(100 * leaks / count, mask=training),
            "elsewhere": elsewhere,
            "elsewhere_percent": 100 * elsewhere / count,
            "kept": kept,
            "dropped": count - kept,
        },
        schema=LEAKAGE_SPLITS,
    )


def _matrix(pairs: Near, names: list[str], code: Ints, reach: list[Bools]) -> pa.Table:
    many, count = _pairs(pairs, code, len(names)), np.bincount(code[code >= 0], minlength=len(names))
    rows = []
    for a, b in combinations_with_replacement(range(len(names)), 2):
        of_a, of_b = int(((code == a) & reach[b]).sum()), int(((code == b) & reach[a]).sum())
        rows.append((names[a], names[b], many[a, b], of_a, of_b, 100 * of_a / count[a], 100 * of_b / count[b]))
    return pa.table(dict(zip(LEAKAGE_MATRIX.names, zip(*rows, strict=True), strict=True)), schema=LEAKAGE_MATRIX)


def _pairs(pairs: Near, code: Ints, k: int) -> Ints:
    """How many near pairs of images two splits have: int64 (k, k), symmetric."""
    ids = np.flatnonzero(code >= 0)
    key, counts = np.unique(pairs.set_of[ids] * k + code[ids], return_counts=True)
    sets, split = key // k, key % k
    starts, many = spans(sets, len(code))
    total = np.zeros((k, k), np.int64)
    a, b = crossed(pairs.a, pairs.b, (starts, starts), (many, many))
    np.add.at(total, (split[a], split[b]), counts[a] * counts[b])
    inner = np.flatnonzero(np.isfinite(pairs.inner))
    a, b = crossed(inner, inner, (starts, starts), (many, many))
    a, b = a[a <= b], b[a <= b]
    np.add.at(total, (split[a], split[b]), np.where(a == b, counts[a] * (counts[a] - 1) // 2, counts[a] * counts[b]))
    return total + total.T - np.diag(np.diag(total))


def _curve(every: Near, names: list[str], code: Ints, ends: tuple[float, float]) -> pa.Table:
    """How much of each split of evaluation leaks at even steps up to the cutoff, and at the threshold."""
    threshold, cutoff = ends
    steps = np.unique(np.append(np.linspace(0, cutoff, _STEPS + 1), threshold))
    score = nearest(every, code == 0)[0]
    tables = []
    for split, name in enumerate(names[1:], 1):
        mine = np.sort(score[code == split])
        leaking = np.searchsorted(mine, steps, side="right")
        columns = [steps, [name] * len(steps), leaking, 100 * leaking / len(mine)]
        tables.append(pa.table(columns, schema=LEAKAGE_CURVE))
    return pa.concat_tables(tables)


def _images(images: pa.Table, pairs: Near, given: Given, other: tuple[Float64s, Ints], kept: Bools) -> pa.Table:
    ids = np.flatnonzero(pairs.ok)
    rows = pa.array(ids)
    score, who = (some[ids] for some in other)
    mate = pa.array(who, mask=who < 0)
    split = given.splits.take(rows)
    action = pa.array(np.where(kept[ids], "keep", "drop"), pa.string(), mask=pc.is_null(split).to_numpy(False))
    return pa.table(
        {
            "image": ids,
            "path": images["path"].take(rows),
            "path_raw": images["path_raw"].take(rows),
            "split": split,
            "label": given.labels.take(rows),
            "group": _numbered(images["path_raw"].take(rows), groups(pairs)[ids]),
            "action": action,
            "near_image": mate,
            "near_path": images["path"].take(mate),
            "near_split": given.splits.take(mate),
            "near_score": pa.array(score, mask=who < 0),
            "label_conflict": conflicting(pairs, given.labels)[ids],
        },
        schema=LEAKAGE_IMAGES,
    )


def _numbered(paths: pa.ChunkedArray, root: Ints) -> Ints:
    """The groups numbered from 0, the largest first, ties by their first path; so the numbers do not depend on ids."""
    rank = path_rank(paths)
    order = np.lexsort((rank, root))
    number = np.empty(len(root), np.int64)
    number[order] = numbers_by_size(np.diff(root[order], prepend=-1) != 0, rank[order])
    return number
