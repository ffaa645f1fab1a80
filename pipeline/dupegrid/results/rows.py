"""Rows of the images of a run by their ids, of which only those in work are held."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.core.text import shown
from dupegrid.results.reading import Results
from dupegrid.storage.made_up import check_ids, check_images
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import group_rows, read_group, read_metadata


class Rows:
    """Images in pieces, of which one is read at a time: the row groups of images.parquet, or a table as one piece."""

    def __init__(self, lengths: Sequence[int], read: Callable[[int, list[str]], pa.Table], names: list[str]) -> None:
        """So many rows a piece; `read` gives columns of one by its number, `names` are all columns."""
        self.names = names
        self._starts = np.cumsum([0, *lengths])
        self._read = read

    @classmethod
    def of(cls, images: "pa.Table | Rows") -> "Rows":
        """The same; or those of a table with columns of schema IMAGES."""
        if isinstance(images, Rows):
            return images
        return cls([len(images)], lambda _number, names: images.select(names), images.column_names)

    @classmethod
    def stored(cls, run_dir: RunDir, roots: int) -> "Rows":
        """Those of a run directory of so many roots. DamagedError, also when they are read, where no run says so."""
        lengths = group_rows(run_dir.images)
        return cls(lengths, partial(_read, run_dir, np.cumsum([0, *lengths]), roots), IMAGES.names)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def parts(self, ids: Ints, names: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of some images, ids (k,) ascending, in that order: a table for each piece that some are in."""
        for number, (start, stop) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            here = ids[slice(*np.searchsorted(ids, [start, stop]))]
            if len(here):
                yield self._read(number, list(names)).take(pa.array(here - start))

    def take(self, ids: Ints, names: Sequence[str]) -> pa.Table:
        """The same of one image or more as one table."""
        return pa.concat_tables(self.parts(ids, names))


def images_file(run: Results) -> Path:
    """Where the images of a run are. StoreError where none are, or those of another moment."""
    path = run.existing("images.parquet", "index")
    if run.saved["fingerprint"] not in ("", read_metadata(path).get("fingerprint")):
        raise StoreError(f"{shown(path)} is not the one that run.json is of: run 'dupegrid run' again to make it")
    return path


def rows_of(run: Results) -> Rows:
    """The images of a run, with a column `hash` where that is needed: read piece by piece where they are several."""
    if run.config.same_hash != "skip" and len(group_rows(images_file(run))) > 1:
        return Rows.stored(run.run_dir, len(run.config.roots))
    return Rows.of(run.hashed_images)


def _read(run_dir: RunDir, starts: Ints, roots: int, number: int, names: list[str]) -> pa.Table:
    start, stop = starts[number : number + 2]
    table = read_group(run_dir.images, number, IMAGES, list(dict.fromkeys(("id", *names))))
    if not np.array_equal(table["id"].to_numpy(), np.arange(start, stop)):
        raise DamagedError(run_dir.images, "its ids are not 0, 1, 2, ...")
    check_ids(run_dir.images, table, sorted({"root"} & {*names}), roots)
    return check_images(run_dir.images, table.select(names), int(starts[-1]))
