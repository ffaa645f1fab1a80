"""Decisions of the pairs of a group, as rows of decisions.parquet."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.results.components import components

Row = dict[str, Any]  # of DECISIONS
Pair = tuple[str, str]  # the hashes of two files, the lower first


class Done(NamedTuple):
    """A decision that was written."""

    group: int
    row: Row
    before: Row | None  # the one that was in force


def restoring_row(done: Done) -> Row:
    """The row to append so that the decision before this one holds again, or none where there was none."""
    row = done.before or {**done.row, "decision": "undecided", "keeper": None}
    return {key: value for key, value in row.items() if key != "decided_at"}


def decision_by_ids(row: Row, images: dict[str, int]) -> dict[str, Any]:
    """A decision as the page is told of it, by ids."""
    return {
        "a": images[row["hash_a"]],
        "b": images[row["hash_b"]],
        "decision": row["decision"],
        "keeper": images.get(row["keeper"]),
    }


def is_joined(hashes: Sequence[str], pairs: Iterable[Pair]) -> bool:
    """Whether decisions join all that a group holds: then no pair has to be asked for any more."""
    place = {hash: number for number, hash in enumerate(dict.fromkeys(hashes))}
    a, b = np.array([[place[hash] for hash in pair] for pair in pairs], np.int64).reshape(-1, 2).T
    return not components(len(place), a, b).any()


def in_groups(decisions: pa.Table, hashes: pa.Array, first: Ints) -> Iterator[tuple[int, Row]]:
    """Those decisions that are of two files of one group, with that group.

    `hashes` are those of the rows of all groups, (k,), and `first` says where each group begins and the last one ends.
    """
    if not len(decisions):
        return
    at = [pc.index_in(decisions[name], hashes).fill_null(-1).to_numpy() for name in ("hash_a", "hash_b")]
    of_a, of_b = (np.searchsorted(first, side, side="right") - 1 for side in at)
    here = np.flatnonzero((at[0] >= 0) & (at[1] >= 0) & (of_a == of_b))
    yield from zip(of_a[here].tolist(), decisions.take(pa.array(here)).to_pylist(), strict=True)
