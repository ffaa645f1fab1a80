"""A folder of plots, one a matching pair: which are there already, which are drawn, how many at most."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dupegrid.core.arrays import ORIENTATIONS
from dupegrid.core.errors import UsageError
from dupegrid.core.keys import fingerprint
from dupegrid.core.progress import Reporter
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, place_of
from dupegrid.results.answers import Answer
from dupegrid.results.run_like import RunLike
from dupegrid.storage.files import writing_whole
from dupegrid.storage.ours import opened

MOST: Final = 1000  # pairs that are drawn, unless more are asked for: some 20 a second
DRAWN_BY: Final = "dupegrid"  # what a plot says as its Software
_HEAD_BYTES: Final = 1 << 12
_BY_US: Final = re.compile(rb"^\x89PNG.*Software\x00dupegrid", re.DOTALL)

Draw = Callable[[Mapping[str, Any], str], bytes]  # a row of matches, what the plot is of -> PNG


@dataclass(frozen=True)
class Plots(Answer):
    """What a folder of plots holds of the matching pairs of a run."""

    folder: str
    drawn: int
    there: int  # drawn before
    left_out: int  # pairs over the number that is drawn at most


def save_plots(run: RunLike, folder: StrPath, most: int, draw: Draw, reporter: Reporter | None) -> Plots:
    """Draw pairs at or under the threshold into a folder, as a-b.png by their ids, where that is not there yet.

    The most alike come first, `most` of them; the others are only counted. A plot is written whole or not at all, and
    drawn again where what it shows is another by now. UsageError where nothing may be written there, or something else
    has the name of a plot, which stays as it is.
    """
    if not isinstance(most, int) or most < 0:
        raise UsageError(f"most is {most!r}: give how many pairs to draw, 0 or more")
    path = Path(place_of("the folder of plots", folder))
    root = run.config.root_around(path)
    if root is not None:
        raise UsageError(
            f"the folder of plots {shown(path)} lies inside {printable(root)}: choose one outside it, "
            "as nothing is written beside the photos"
        )
    near = run.match_batches.near(run.config.threshold)
    first, drawn = near.first(most), 0
    columns = zip(*(column.tolist() for column in (first.a, first.b, first.mse, first.turn)), strict=True)
    rows = [{"a": a, "b": b, "mse": mse, "orientation": ORIENTATIONS[turn]} for a, b, mse, turn in columns]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write plots to {shown(path)}: {error.strerror}; choose another folder") from None
    with reporter.stage("plots", len(rows), "pairs") if reporter else nullcontext(lambda _count: None) as advance:
        for row in rows:
            file, of = path / f"{row['a']}-{row['b']}.png", _key(row, run.images)
            if not _is_there(file, of):
                with writing_whole(file, flushed=False) as written:
                    written.write(draw(row, of))
                drawn += 1
            advance(1)
    return Plots(str(path), drawn, len(rows) - drawn, near.count() - len(rows))


def _key(row: Mapping[str, Any], images: pa.Table) -> str:
    """Equal where a plot would be the same."""
    files = [images[name][row[side]].as_py() for name in ("path", "file_hash") for side in ("a", "b")]
    return fingerprint(files, row["mse"], row["orientation"])


def _is_there(file: Path, of: str) -> bool:
    """Whether a plot is there that is of this. UsageError where what has its name is none of ours."""
    try:
        is_file = stat.S_ISREG(os.lstat(file).st_mode)
        head = b""
        if is_file:
            with opened(file) as plot:
                head = plot.read(_HEAD_BYTES)
    except FileNotFoundError:
        return False
    if not is_file or (head and not _BY_US.match(head)):
        raise UsageError(f"{shown(file)} was not drawn by dupegrid, and stays as it is: choose another folder")
    return of.encode() in head
