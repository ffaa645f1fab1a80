"""What the task of a tile needs to know; small, as it travels to every worker."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dupegrid.pairs.ask import Filters
from dupegrid.pairs.grid import Grid

# How every pair of images was decided, in the order of trying; these add up to all pairs. Then what was found.
DECIDED: Final = ("other_group", "filter", "box", "level_4", "level_8", "level_16", "exact")
COUNTS: Final = (*DECIDED, "matches", "parts", "comparison")  # the last is the number of the comparison's key


def number_of(key: str) -> int:
    """A key as an int64, for what holds numbers only."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little", signed=True)


@dataclass(frozen=True)
class Job:
    """A comparison, as far as a tile's task is concerned."""

    run_dir: Path
    index_mark: str
    order_mark: str  # of the sorted images; empty where they are not sorted
    grid: Grid
    side: int  # of a thumbnail, pixels
    metric: str
    metric_code: str  # what its code is known by
    cutoff: float  # largest score kept
    limit: int  # the same as an SSE
    largest_norm: float  # of a projected image
    orientations: tuple[str, ...]
    filters: Filters
    key: str = ""  # of the comparison: its parts and marks carry it
    token: str = ""  # of the run that has the run directory (hold.py)
