"""What the pictures of matches are to each other, as it was told: read, and counted."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import shown
from dupegrid.pairs.relations import OF, relations_key
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import RELATIONS_TABLE
from dupegrid.storage.tables import parts_in, read_metadata, read_table
from dupegrid.storage.words import RELATIONS


def read_relations(run_dir: RunDir, matches: pa.Table) -> pa.Table:
    """The relations of these matches, which have at least a and b, sorted by both, as the relations are.

    StoreError unless all are there, DamagedError where a part of them is not as it was written.
    """
    missing = StoreError(
        f"{shown(run_dir.path)} does not say how its matches are related: make that with 'dupegrid run ... --relations'"
    )
    key = relations_key(fingerprint(*run_dir.tiles_keys()))
    if not run_dir.relations.exists() or any(read_metadata(p).get(OF) != key for p in parts_in(run_dir.relations)):
        raise missing
    table = read_table(run_dir.relations, RELATIONS_TABLE, whole=True).sort_by([("a", "ascending"), ("b", "ascending")])
    if not all(table[name].equals(matches[name]) for name in ("a", "b")):
        raise missing
    if not pc.all(pc.is_in(table["relation"], pa.array(RELATIONS)), min_count=0).as_py():
        raise DamagedError(run_dir.relations, "it has words that no run writes")
    return table


def relations_of(x: Ints, y: Ints, told: pa.Table) -> pa.ChunkedArray:
    """The relation of each pair of ids, int64 (k,) each, either way round; null where `told` (a < b) has none."""
    a, b = told["a"].to_numpy(), told["b"].to_numpy()
    n = 1 + max(int(ids.max(initial=0)) for ids in (b, x, y))
    row = pc.index_in(pa.array(np.minimum(x, y) * n + np.maximum(x, y)), pa.array(a * n + b))
    return told["relation"].take(row)


def told_so_far(run_dir: RunDir) -> dict[str, int]:
    """How many of the matches that are there have which relation, in the order of RELATIONS."""
    key = relations_key(fingerprint(*run_dir.tiles_keys()))
    parts = parts_in(run_dir.relations) if run_dir.relations.is_dir() else []
    ours = [path for path in parts if read_metadata(path).get(OF) == key]
    words = (read_table(path, RELATIONS_TABLE, ["relation"])["relation"].to_pylist() for path in ours)
    return counted_relations(chain.from_iterable(words))


def counted_relations(words: Iterable[str]) -> dict[str, int]:
    """How many of these words are which, in the order of RELATIONS."""
    counts = Counter(words)
    return {word: counts[word] for word in RELATIONS if counts[word]}
