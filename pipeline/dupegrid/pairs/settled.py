"""What earlier comparisons settled: images that were compared with each other and are the same still.

When a collection changes, only pairs with a new image are compared; the matches among settled ones are taken over.
compared.parquet says what a finished comparison was of. Before an old one is taken away, what it settles is written
down for the next: settled.parquet and the rows beside it, both with the key of the next comparison.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints
from dupegrid.core.config import Config
from dupegrid.core.errors import StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.pairs.batches import match_groups, read_groups
from dupegrid.pairs.matches import is_of, raw_paths, with_paths
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import COMPARED, IMAGES, MATCHES
from dupegrid.storage.tables import read_metadata, read_pieces, read_table, write_table, write_tables


def write_compared(run_dir: RunDir, live: Ints, config: Config, alike: str, pairs: str) -> None:
    """Say that all pairs of these images are decided, of the comparison with this key of its pairs."""
    write_tables(run_dir.compared, COMPARED, _contents(run_dir, live, config), {"alike": alike, "pairs": pairs})


def settle(run_dir: RunDir, live: Ints, config: Config, alike: str, pairs: str) -> Bools:
    """Which images of a comparison with this key, new or begun, are settled: by place in `live`, bool (n,).

    `alike` is equal for comparisons that would compare the same two files alike.
    """
    known = is_of(run_dir.settled, pairs) or _write_settled(run_dir, live, config, alike, pairs)
    if not known or not any(is_of(path, pairs) for path in (run_dir.settled_matches, run_dir.adopted)):
        return np.zeros(len(live), bool)
    ids = read_table(run_dir.settled, pa.schema([COMPARED.field("id")]))["id"].drop_null().to_numpy()
    settled = np.zeros(int(live.max(initial=-1)) + 1, bool)
    settled[ids[(ids >= 0) & (ids < len(settled))]] = True
    return settled[live]


def adopt(run_dir: RunDir, pairs: str) -> None:
    """Put the matches among settled images into matches.parquet, unless they are there."""
    if is_of(run_dir.settled_matches, pairs):
        run_dir.settled_matches.replace(run_dir.adopted)


def _write_settled(run_dir: RunDir, live: Ints, config: Config, alike: str, pairs: str) -> bool:
    """Write down what the finished comparison that is there settles for the next; False if there is none."""
    facts = read_metadata(run_dir.compared)
    before, layout = run_dir.tiles_keys()
    if before == pairs or facts.get("alike") != alike or before != facts.get("pairs"):
        return False
    try:
        settled = _unchanged(run_dir, live, config)
        groups = match_groups(run_dir, fingerprint(before, layout))
    except (StoreError, OSError, ValueError, KeyError):
        return False
    try:
        write_tables(run_dir.settled_matches, MATCHES, _rows_among(settled, run_dir, groups), {"pairs": pairs})
    except (StoreError, ValueError, KeyError):  # no OSError: what cannot be written is no reason to compare all again
        return False
    write_table(run_dir.settled, pa.table({"id": np.flatnonzero(settled)}), {"pairs": pairs})
    return True


def _rows_among(settled: Bools, run_dir: RunDir, groups: Sequence[tuple[Path, int]]) -> Iterator[pa.Table]:
    """The matches in some row groups among settled images, a row group at a time, with paths as they are now.

    StoreError where they are not all that an earlier comparison counted.
    """
    paths, count = raw_paths(run_dir), 0
    for group in read_groups(groups, MATCHES, MATCHES.names, len(settled)):
        count += len(group)
        rows = group.filter(pa.array(settled[group["a"].to_numpy()] & settled[group["b"].to_numpy()]))
        yield with_paths(rows, paths, MATCHES)
    if count != run_dir.counted_matches():
        raise StoreError(f"{count:,} matches are there, and an earlier comparison counted others")


def _unchanged(run_dir: RunDir, live: Ints, config: Config) -> Bools:
    """Which images are what they were when they were compared: by id, bool (n,)."""
    unchanged = np.zeros(max(run_dir.listed(), int(live.max(initial=-1)) + 1), bool)
    pieces, before = read_pieces(run_dir.compared, COMPARED), COMPARED.empty_table()
    for now in _contents(run_dir, live, config):
        last = now["id"][-1].as_py() if len(now) else -1
        while (not len(before) or before["id"][-1].as_py() < last) and (piece := next(pieces, None)) is not None:
            before = pa.concat_tables([before, piece.filter(pc.is_valid(piece["id"]))])
        ids, places, places_before = np.intersect1d(now["id"], before["id"], return_indices=True)
        pairs = [(now[name].take(places), before[name].take(places_before)) for name in COMPARED.names]
        same = [pc.fill_null(pc.equal(*pair), False).to_numpy() for pair in pairs]
        unchanged[ids[np.logical_and.reduce(same)]] = True
        before = before.filter(pc.greater(before["id"], last))
    return unchanged


def _contents(run_dir: RunDir, live: Ints, config: Config) -> Iterator[pa.Table]:
    """What each image is, as far as comparing goes (schema COMPARED), a piece at a time in the order of ids.

    None whose content is not known.
    """
    names = ["id", "file_hash", "width", "height", "group", "root"]
    roots = pa.array([root.encode("unicode_escape").decode() for root in config.roots], pa.string())
    start = 0
    for piece in run_dir.image_pieces(IMAGES, names):
        here = live[slice(*np.searchsorted(live, [start, start + len(piece)]))]
        images = piece.take(pa.array(here - start))
        side = images["group"].fill_null("") if config.scope == "all" else roots.take(images["root"].combine_chunks())
        images = images.append_column("side", side).select(COMPARED.names).cast(COMPARED)
        yield images.filter(pc.is_valid(images["file_hash"]))
        start += len(piece)
