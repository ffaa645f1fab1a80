"""What the task of a tile needs to know; small, as it travels to every worker."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from dupegrid.core.keys import fingerprint
from dupegrid.core.loops import FIRST, HEADS, Loops, compiled
from dupegrid.core.room import Room
from dupegrid.images.levels import prefixes
from dupegrid.pairs.ask import Ask, Filters
from dupegrid.pairs.grid import Grid
from dupegrid.storage.run_dir import RunDir

# How every pair of images was decided, in the order of trying; these add up to all pairs. Then what was found.
DECIDED: Final = ("other_group", "filter", "box", "product", "cosines", "exact")
COUNTS: Final = (*DECIDED, "matches", "parts", "comparison")  # the last is the number of the comparison's key


@dataclass(frozen=True)
class Job:
    """A comparison, as far as a tile's task is concerned."""

    run_dir: RunDir
    ask: Ask
    grid: Grid
    side: int  # of a thumbnail, pixels
    limit: int  # the largest score kept, as an SSE
    orientations: tuple[str, ...]
    filters: Filters
    room: Room  # for what a tile holds in memory
    pairs: str = ""  # the key of what is asked for, and of which images
    layout: str = ""  # the key of how these are sorted and cut into tiles
    with_loops: bool = False  # whether compiled ones are worth loading
    device: str = ""  # the array module whose device tiles are compared on; empty: none
    token: str = ""  # of the run that has the run directory (hold.py)

    @cached_property
    def key(self) -> str:
        """The key of the comparison: its parts and marks carry it."""
        return fingerprint(self.pairs, self.layout)

    @property
    def loops(self) -> Loops | None:
        """The compiled loops, where they are to be had and worth it."""
        return compiled() if self.with_loops and HEADS <= prefixes(self.side)[0] <= FIRST else None
