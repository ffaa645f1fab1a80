"""A picture of each matching pair, in a folder of the user's."""

import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.compute as pc

from dupegrid.app.fastdif.config import FastDiffPyConfig
from dupegrid.app.run import Run
from dupegrid.core.arrays import turned
from dupegrid.core.errors import RunDirError, UsageError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, place_of
from dupegrid.results.explain import pair_picture
from dupegrid.storage.files import write_bytes

_MOST: Final = 1000  # pictures, of some 100 kB each


def plot_folder(place: StrPath | None, config: FastDiffPyConfig) -> Path:
    """The folder for plots. UsageError where none is given, or it lies among the photos, where nothing is written."""
    if place is None:
        raise UsageError("plots need a folder: give diff_location")
    folder = Path(place_of("diff_location", place))
    directory = config.directory_around(folder)
    if directory is not None:
        raise UsageError(
            f"diff_location {shown(folder)} lies inside {printable(directory)}, where nothing is written: "
            "give a folder elsewhere"
        )
    return folder


def draw_pairs(run: Run, threshold: float, folder: Path) -> None:
    """Draw the pairs at or under `threshold`, the nearest first, as PNG files.

    A file is named by its MSE and what it shows, so that one that is there is not drawn again. Over 1,000 pairs, that
    is said on standard error. Raises RunDirError where the folder cannot be written.
    """
    near = run.matches.filter(pc.less_equal(run.matches["mse"], threshold))
    rows = near.sort_by([("mse", "ascending"), ("a", "ascending"), ("b", "ascending")]).slice(0, _MOST).to_pylist()
    hashes = run.images["file_hash"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows:
            known = [hashes[row[side]].as_py() for side in "ab"]
            key = fingerprint(*known, row["path_a"], row["path_b"], row["orientation"])
            file = folder / f"mse-{row['mse']:09.3f}-{key}.png"
            if not os.path.lexists(file):
                thumbs = run.thumbs_of(np.array([row["a"], row["b"]]))
                write_bytes(file, pair_picture(thumbs[0], turned(thumbs[1:], row["orientation"])[0]))
    except OSError as error:
        raise RunDirError(
            f"cannot write to {shown(folder)}: {error.strerror}; choose a folder you can write to"
        ) from None
    if len(near) > _MOST:
        print(f"drawn are the {_MOST:,} nearest of {len(near):,} pairs", file=sys.stderr)
