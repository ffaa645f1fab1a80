"""Matching pairs -> rows -> part files, and all of them back."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import ORIENTATIONS, Float64s, Ints, values_of
from dupegrid.core.text import display_path
from dupegrid.pairs.job import Job
from dupegrid.storage.hold import check_hold
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES, MATCHES
from dupegrid.storage.table_checks import check_images
from dupegrid.storage.tables import parts_in, read_metadata, write_table

KEY: Final = "comparison"  # whose part a file is
PART: Final = "part"  # and which one: not even another part of the same may lie in its place
ROWS_A_PART: Final = 1 << 18
PATHS: Final = ("path", "path_raw")  # the columns that name an image
_NO_PATHS: Final = pa.chunked_array([], pa.binary())

Columns = tuple[Ints, Ints, Ints, Ints, Float64s]  # of matches: a, b, SSE, a number into ORIENTATIONS, score; (k,) each


def sse_limit(mse: float, values: int) -> int:
    """The largest SSE whose MSE, as float64 `sse / values`, is at or under `mse`."""
    limit = int(mse * values)
    while (limit + 1) / values <= mse:
        limit += 1
    while limit / values > mse:
        limit -= 1
    return limit


class PartWriter:
    """Collects the matches of one tile and writes them as part files, none of which grows without bound."""

    def __init__(self, job: Job, i: int, j: int) -> None:
        self.rows = 0
        self._job, self._tile = job, (i, j)
        self._waiting: list[Columns] = []
        self._parts = 0

    def add(self, a: Ints, b: Ints, sse: Ints, orientation: Ints, score: Float64s | None = None) -> None:
        """Take matches: ids a < b, SSE, a number into ORIENTATIONS, a score where that is not the MSE; (k,) each."""
        if not len(a):
            return
        self._waiting.append((a, b, sse, orientation, sse / values_of(self._job.side) if score is None else score))
        self.rows += len(a)
        if sum(len(columns[0]) for columns in self._waiting) >= ROWS_A_PART:
            self._write()

    def close(self) -> int:
        """Write what is left; gives the number of part files, none for a tile without matches."""
        if self._waiting:
            self._write()
        number = self._parts  # a task that had another memory, or a device, may have written more and been killed
        while (path := self._job.run_dir.match_part(*self._tile, number)).is_file():
            check_hold()
            remove(path)
            number += 1
        return self._parts

    def _write(self) -> None:
        a, b, sse, orientation, score = map(np.concatenate, zip(*self._waiting, strict=True))
        path = self._job.run_dir.match_part(*self._tile, self._parts)
        write_matches(self._job, path, (a, b, sse, orientation, score))
        self._parts += 1
        self._waiting.clear()


def write_matches(job: Job, path: Path, columns: Columns) -> None:
    """Write matching pairs as a part of matches.parquet. Paths are read, of all images, where there is a pair."""
    paths = _NO_PATHS
    if len(columns[0]):
        paths = job.run_dir.once("paths", lambda: raw_paths(job.run_dir))
    write_table(path, match_rows(columns, paths, values_of(job.side)), part_facts(path, job.key))


def match_rows(columns: Columns, paths: pa.ChunkedArray, values: int) -> pa.Table:
    """The table of matching pairs (schema MATCHES), sorted by a and b; `values` is S * S * 3.

    `paths` are `raw_paths`.
    """
    a, b, sse, orientation, score = columns
    order = np.lexsort((b, a))
    a, b, sse = a[order], b[order], sse[order]
    orientations = pa.array(ORIENTATIONS).take(pa.array(orientation[order]))
    rows = {"a": a, "b": b, "mse": sse / values, "sse": sse, "orientation": orientations, "score": score[order]}
    return with_paths(rows, paths, MATCHES)


def raw_paths(run_dir: RunDir) -> pa.ChunkedArray:
    """The column path_raw of images.parquet: all that a process holds of paths, as what is shown is made of it."""
    return check_images(run_dir.images, run_dir.image_columns(IMAGES, ["path_raw"]))["path_raw"]


def with_paths(rows: pa.Table | dict[str, Any], paths: pa.ChunkedArray, schema: pa.Schema) -> pa.Table:
    """Some matches with the columns of a schema: those that name the images a and b are what `raw_paths` says now."""
    raw = {image: _taken(paths, np.asarray(rows[image])) for image in ("a", "b")}
    named = {f"path_raw_{image}": raw[image] for image in raw} | {
        f"path_{image}": _displayed(raw[image]) for image in raw
    }
    return pa.table([named[name] if name in named else rows[name] for name in schema.names], schema=schema)


def _taken(paths: pa.ChunkedArray, ids: Ints) -> pa.Array:
    """The paths of some images, piece by piece: pyarrow would put all pieces together first, each time."""
    order = np.argsort(ids, kind="stable")
    ascending, place = ids[order], np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    starts = np.cumsum([0, *map(len, paths.chunks)])
    cuts = pairwise(np.searchsorted(ascending, starts).tolist())
    spans = zip(paths.chunks, starts.tolist(), cuts, strict=False)
    found = [piece.take(pa.array(ascending[slice(*cut)] - start)) for piece, start, cut in spans if cut[0] < cut[1]]
    return pa.concat_arrays([pa.array([], pa.binary()), *found]).take(pa.array(place))


def _displayed(raw: pa.Array) -> pa.Array:
    """Paths as they are shown to people (text.py)."""
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:  # one is not UTF-8
        return pa.array(map(display_path, raw.to_pylist()), pa.string())


def part_facts(path: Path, key: str) -> dict[str, str]:
    """What a part of the comparison with this key says of itself."""
    return {KEY: key, PART: path.name}


def is_part_of(path: Path, key: str) -> bool:
    """Whether a part file is there and is this part of the comparison with this key."""
    facts = read_metadata(path)
    return facts.get(KEY) == key and facts.get(PART, path.name) == path.name  # earlier versions said no name


def is_of(path: Path, pairs: str) -> bool:
    """Whether a table is there and of the comparison with this key of its pairs: those that are adopted, say."""
    return read_metadata(path).get("pairs") == pairs


def other_parts(run_dir: RunDir, key: str, pairs: str) -> list[Path]:
    """The parts of other comparisons: a folder that was copied while it changed may hold some."""
    adopted, parts = run_dir.adopted, parts_in(run_dir.matches)
    return [path for path in parts if not (is_of(path, pairs) if path == adopted else is_part_of(path, key))]
