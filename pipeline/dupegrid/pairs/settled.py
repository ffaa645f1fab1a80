"""What earlier comparisons settled: images that were compared with each other and are the same still.

When a collection changes, only pairs with a new image are compared; the matches among settled ones are taken over.
compared.parquet says what a finished comparison was of. Before an old one is taken away, what it settles is written
down for the next: settled.parquet and the rows beside it, both with the mark of the next comparison.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Ints
from dupegrid.core.config import Config
from dupegrid.core.errors import StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.pairs.matches import read_matches, settled_path
from dupegrid.storage.schemas import COMPARED, IMAGES, MATCHES
from dupegrid.storage.tables import read_json, read_metadata, read_table, write_table


def settings_mark(thumbs_mark: str | None, config: Config) -> str:
    """Equal when the same two files would be compared alike."""
    pairs = (config.cutoff, config.orientations, config.scope, config.same_size, config.max_aspect, config.metric)
    return fingerprint(thumbs_mark, bool(config.against), *pairs)


def write_compared(run_dir: Path, live: Ints, config: Config, settings: str, mark: str) -> None:
    """Say that all pairs of these images are decided, of the comparison with this mark."""
    facts = {"settings": settings, "pairs": mark}
    write_table(run_dir / "compared.parquet", _contents(run_dir, live, config), facts)


def settle(run_dir: Path, live: Ints, config: Config, settings: str, mark: str, stored: str) -> Bools:
    """Which images of a comparison with this mark, new or begun, are settled: by place in `live`, bool (n,).

    `stored` is the mark of the tiles that are there.
    """
    kept = run_dir / "settled.parquet"
    if read_metadata(kept).get("pairs") != mark and not _write_settled(run_dir, live, config, settings, mark, stored):
        return np.zeros(len(live), bool)
    if not any(_is_of(path, mark) for path in _places(run_dir)):
        return np.zeros(len(live), bool)
    return np.isin(live, read_table(kept, pa.schema([COMPARED.field("id")]))["id"].to_numpy())


def are_adopted(run_dir: Path, mark: str) -> bool:
    """Whether the matches among settled images are in matches.parquet."""
    return _is_of(_places(run_dir)[1], mark)


def set_aside(run_dir: Path, mark: str) -> tuple[str, ...]:
    """Take the matches among settled images out of matches.parquet; the artifacts that must stay while it goes."""
    waiting, place = _places(run_dir)
    if _is_of(place, mark):
        os.replace(place, waiting)
    return ("settled.parquet", waiting.name) if _is_of(waiting, mark) else ()


def adopt(run_dir: Path, mark: str) -> None:
    """Put them into matches.parquet, which is otherwise new."""
    waiting, place = _places(run_dir)
    if _is_of(waiting, mark):
        os.replace(waiting, place)


def adopted_matches(run_dir: Path, mark: str) -> int:
    """How many matches were taken over."""
    place = _places(run_dir)[1]
    return len(read_table(place, MATCHES, ["a"])) if _is_of(place, mark) else 0


def _write_settled(run_dir: Path, live: Ints, config: Config, settings: str, mark: str, stored: str) -> bool:
    """Write down what the finished comparison that is there settles for the next; False if there is none."""
    facts = read_metadata(run_dir / "compared.parquet")
    finished = facts.get("pairs", "")
    if stored.startswith(mark) or facts.get("settings") != settings or not stored.startswith(finished):
        return False
    try:
        before = read_table(run_dir / "compared.parquet", COMPARED)
        same = before.join(_contents(run_dir, live, config), keys=COMPARED.names, join_type="inner")["id"].sort()
        matches = read_matches(run_dir, stored)
        whole = read_json(run_dir / "receipt.json")["matches"] == len(matches)
    except (StoreError, OSError, ValueError, KeyError):
        whole = False
    if not whole:
        return False
    a, b = matches["a"].to_numpy(), matches["b"].to_numpy()
    settled = np.zeros(int(max(live.max(initial=-1), a.max(initial=-1), b.max(initial=-1))) + 1, bool)
    settled[same.to_numpy()] = True
    paths = read_table(run_dir / "images.parquet", IMAGES, ["path"])["path"]
    rows = matches.filter(pa.array(settled[a] & settled[b]))
    fresh: dict[str, Any] = {"path_a": paths.take(rows["a"]), "path_b": paths.take(rows["b"])}
    rows = pa.table({name: fresh.get(name, rows[name]) for name in MATCHES.names}, schema=MATCHES)
    waiting, _ = _places(run_dir)
    write_table(waiting, rows, {"pairs": mark})
    write_table(run_dir / "settled.parquet", pa.table({"id": same}), {"pairs": mark})
    return True


def _contents(run_dir: Path, live: Ints, config: Config) -> pa.Table:
    """What each image is, as far as comparing goes (schema COMPARED); none whose content is not known."""
    names = ["id", "file_hash", "width", "height", "group", "root"]
    images = read_table(run_dir / "images.parquet", IMAGES, names)
    images = images if len(live) == len(images) else images.take(pa.array(live))
    roots = pa.array([root.encode("unicode_escape").decode() for root in config.roots], pa.string())
    side = roots.take(images["root"].combine_chunks()) if config.scope != "all" else images["group"].fill_null("")
    images = images.append_column("side", side).select(COMPARED.names)
    return images.filter(pc.is_valid(images["file_hash"]))


def _places(run_dir: Path) -> tuple[Path, Path]:
    """Where the matches among settled images wait, and where they go."""
    return run_dir / "settled-matches.parquet", settled_path(run_dir)


def _is_of(path: Path, mark: str) -> bool:
    return read_metadata(path).get("pairs") == mark
