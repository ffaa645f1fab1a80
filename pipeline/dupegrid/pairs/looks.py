"""Pictures with several looks: all pairs of views are compared, as exactly as images are, into looks.parquet.

Of the matching views of a pair of images the least becomes its match (`fold`), a row of matches.parquet.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Ints, values_of
from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.images.views import MATCHING_VIEWS, Views
from dupegrid.pairs.ask import Ask
from dupegrid.pairs.compare import compare
from dupegrid.pairs.matches import is_part_of, match_rows, part_facts, raw_paths
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import MATCHES, MATCHES_BY_LOOKS
from dupegrid.storage.tables import parts_in, read_metadata, read_table, row_count, write_table

_FOLDED_AT_ONCE: Final = 1 << 20  # matching views: some 100 MB
_PAIRS: Final = "pairs"  # a fact of a finished matches.parquet: how many it has
_NAMED: Final = ["a", "b", "sse", "orientation"]


def compare_looks(ask: Ask, config: Config, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> dict[str, Any]:
    """Compare all pairs by all looks, as `compare` does by one. Returns what the receipt says of it.

    Its pairs are then those of views, two of one image among them.
    """
    if len(config.looks) == 1:
        return compare(ask, config, run_dir, runtime, reporter)
    views = Views(run_dir)
    counts = compare(ask, config, views, runtime, reporter)
    return counts | {"matches": fold(views, values_of(config.thumb), counts["matches"])}


def fold(views: Views, values: int, matching: int) -> int:
    """Write matches.parquet: of each pair of images the least of so many matching views. Returns how many pairs match.

    At a tie the first orientation, then the wider looks, of a first. A part is of some images a, and all parts of
    looks.parquet are read once for each; the part of `collapsed` is written last, and empty, so that it is the mark.
    """
    run_dir, key = views.of, fingerprint(*views.tiles_keys())
    parts = parts_in(run_dir.matches) if run_dir.matches.is_dir() else []
    if parts and all(is_part_of(part, key) for part in parts):
        pairs = sum(map(row_count, parts))
        if read_metadata(run_dir.collapsed).get(_PAIRS) == str(pairs):
            return pairs
    remove(run_dir.matches)
    run_dir.matches.mkdir(exist_ok=True)
    paths, pairs = raw_paths(run_dir), 0
    for number, rows in enumerate(_least(views)):
        a, b, sse, turn, *looks = rows
        table = match_rows((a, b, sse, turn, sse / values), paths, values)
        for name, look in zip(MATCHES_BY_LOOKS.names[-2:], looks, strict=True):
            table = table.append_column(name, pa.array(views.looks).take(pa.array(look)))
        part = run_dir.match_part(0, 0, number)
        write_table(part, table, part_facts(part, key))
        pairs += len(table)
    mark = {**part_facts(run_dir.collapsed, key), MATCHING_VIEWS: str(matching), _PAIRS: str(pairs)}
    write_table(run_dir.collapsed, MATCHES_BY_LOOKS.empty_table(), mark)
    return pairs


def _least(views: Views) -> Iterator[list[Ints]]:
    """Pairs of images a < b with their least SSE, its orientation (in ORIENTATIONS) and two looks: int64 (k,) each.

    As many at a time as some matching views give, by ascending a.
    """
    parts, count = parts_in(views.matches), len(views.looks)
    of_a = np.zeros(views.of.listed() + 1, np.int64)
    for part in parts:
        a = read_table(part, MATCHES, ["a"])["a"].to_numpy() // count
        of_a += np.bincount(a, minlength=len(of_a))
    ends = np.flatnonzero(np.diff(np.cumsum(of_a) // _FOLDED_AT_ONCE, append=-1)) + 1
    for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        here = (start * count <= pc.field("a")) & (pc.field("a") < stop * count)
        rows = pa.concat_tables([read_table(part, MATCHES, _NAMED).filter(here) for part in parts])
        a, look_a = np.divmod(rows["a"].to_numpy(), count)
        b, look_b = np.divmod(rows["b"].to_numpy(), count)
        turn = pc.index_in(rows["orientation"], pa.array(ORIENTATIONS)).to_numpy().astype(np.int64)
        sse = rows["sse"].to_numpy()
        order = np.lexsort((look_b, look_a, turn, sse, b, a))
        columns = [column[order] for column in (a, b, sse, turn, look_a, look_b)]
        new = np.diff(columns[0], prepend=-1) | np.diff(columns[1], prepend=-1)
        keep = np.flatnonzero((new != 0) & (columns[0] != columns[1]))
        if len(keep):
            yield [column[keep] for column in columns]
