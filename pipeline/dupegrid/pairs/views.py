"""Several looks at each picture: the comparison sees views, an image by one look, where it else sees images.

View `image * looks + look`, so that a view keeps its number when images are added. All pairs of views are compared, as
exactly as images are; what matches is written to looks.parquet. Of the matching views of a pair of images the least
becomes its match (`fold`), a row of matches.parquet.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHANNELS, ORIENTATIONS, Ints, Pixels, values_of
from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.images.levels import CROPS, looks_of, of_look
from dupegrid.pairs.ask import Ask
from dupegrid.pairs.compare import compare
from dupegrid.pairs.matches import KEY, match_rows, raw_paths
from dupegrid.storage.arrays import Arrays, Thumbs, stored_key
from dupegrid.storage.ours import parts_in, remove
from dupegrid.storage.run_dir import THUMBS, RunDir
from dupegrid.storage.schemas import MATCHES, MATCHES_BY_LOOKS
from dupegrid.storage.tables import read_metadata, read_table, row_count, write_table

_FOLDED_AT_ONCE: Final = 1 << 20  # matching views: some 100 MB
_VIEWS: Final = "matching views"  # facts of a finished matches.parquet: of how many it was made,
_PAIRS: Final = "pairs"  # and how many it has
_NAMED: Final = ["a", "b", "sse", "orientation"]


class Views(RunDir):
    """A run directory by views: its thumbnails, their levels and the rows of its images have one for each look."""

    def __init__(self, images: RunDir) -> None:
        super().__init__(images.path)
        self.of, self.looks = images, looks_of(images.levels())
        self.matches = self.path / "looks.parquet"
        self.collapsed = self.matches / self.of.collapsed.name
        self.adopted = self.matches / self.of.adopted.name

    def __reduce__(self) -> tuple[Any, ...]:
        return views_of, (self.of,)

    def renew(self, **made: Any) -> None:
        super().renew(**made)
        self.of.renew()

    def thumbs(self) -> Thumbs:
        return self.once("thumbs", lambda: ViewThumbs(self.of))

    def levels(self) -> Arrays:
        return self.once("levels", lambda: _ViewLevels(self.of))

    def image_columns(self, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
        images = self.of.image_columns(schema, names)
        count = len(self.looks)
        look = np.tile(np.arange(count), len(images))
        views = images.take(np.repeat(np.arange(len(images)), count))
        for name in {"id", "identical_to"} & set(names):
            place, images_of = views.column_names.index(name), views[name].combine_chunks()
            numbers = images_of.fill_null(0).to_numpy() * count + look
            views = views.set_column(place, name, pa.array(numbers, mask=images_of.is_null().to_numpy(False)))
        return views

    def listed(self) -> int:
        return self.of.listed() * len(self.looks)

    def counted_matches(self) -> int:
        return int(read_metadata(self.of.collapsed)[_VIEWS])


class ViewThumbs(Thumbs):
    """The thumbnails of a run by views."""

    def __init__(self, images: RunDir) -> None:
        super().__init__(images.thumbs_zarr)
        self._whole, self._crops = images.thumbs(), images.levels()
        self._looks = looks_of(self._crops)

    def __len__(self) -> int:
        return len(self._whole) * len(self._looks)

    def check_whole(self) -> None:
        self._whole.check_whole()

    def take(self, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> Pixels:
        image, look = np.divmod(rows, len(self._looks))
        out = np.empty((len(rows), self.side, self.side, CHANNELS), np.uint8)
        for number, name in enumerate(self._looks):
            here = np.flatnonzero(look == number)
            some = image[here], None if sums is None else sums[here]
            out[here] = self._crops.take(of_look(CROPS, name), *some) if number else self._whole.take(*some)
        return out


class _ViewLevels(Arrays):
    """levels.zarr by views."""

    def __init__(self, images: RunDir) -> None:
        super().__init__(images.levels_zarr)
        self._of = images.levels()
        self._looks = looks_of(self._of)

    def __len__(self) -> int:
        return len(self._of) * len(self._looks)

    def rows(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(len(self))
        count = len(self._looks)
        images = slice(start // count, -(-stop // count))
        views = np.stack([self._of.rows(of_look(name, look), images) for look in self._looks], axis=1)
        flat = views.reshape(-1, *views.shape[2:])
        return flat[start - images.start * count :][: max(0, stop - start)]

    def take(self, name: str, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[Any]:
        image, look = np.divmod(rows, len(self._looks))
        out: npt.NDArray[Any] | None = None
        for number, of_it in enumerate(self._looks):
            here = np.flatnonzero(look == number)
            part = self._of.take(of_look(name, of_it), image[here], None if sums is None else sums[here])
            out = np.empty((len(rows), *part.shape[1:]), part.dtype) if out is None else out
            out[here] = part
        assert out is not None
        return out


def views_of(images: RunDir) -> Views:
    """The views of a run directory; one for all tasks of a process."""
    return images.once("views", lambda: Views(images))


def looks_at(run_dir: RunDir, ids: Ints) -> Pixels:
    """The thumbnails of images by all looks, ids int64 (k,): uint8 (k, looks, S, S, 3). StoreError if of others."""
    looks = looks_of(run_dir.levels())
    run_dir.check_seals(THUMBS, *(of_look(CROPS, look) for look in looks[1:]))
    thumbs, views = ViewThumbs(run_dir), (ids[:, None] * len(looks) + np.arange(len(looks))).ravel()
    return thumbs.take(views).reshape(len(ids), len(looks), thumbs.side, thumbs.side, CHANNELS)


def by_views(run_dir: RunDir, config: Config) -> RunDir:
    """What the comparison of a run sees as its run directory: itself, or its views where it has several looks."""
    indexed = stored_key(run_dir.levels_zarr) is not None
    return views_of(run_dir) if len(config.looks) > 1 and indexed else run_dir


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
    facts = {KEY: key}
    done = read_metadata(run_dir.collapsed)
    if done.get(KEY) == key and int(done[_PAIRS]) == sum(map(row_count, parts_in(run_dir.matches))):
        return int(done[_PAIRS])
    remove(run_dir.matches)
    run_dir.matches.mkdir(exist_ok=True)
    paths, pairs = raw_paths(run_dir), 0
    for number, rows in enumerate(_least(views)):
        write_table(run_dir.match_part(0, 0, number), _rows(rows, paths, views.looks, values), facts)
        pairs += len(rows[0])
    mark = {**facts, _VIEWS: str(matching), _PAIRS: str(pairs)}
    write_table(run_dir.collapsed, MATCHES_BY_LOOKS.empty_table(), mark)
    return pairs


def _least(views: Views) -> Iterator[tuple[Ints, Ints, Ints, Ints, Ints, Ints]]:
    """Pairs of images a < b with their least SSE, its orientation (in ORIENTATIONS) and looks: int64 (k,) each.

    As many at a time as some matching views give, by ascending a.
    """
    parts, count = parts_in(views.matches), len(views.looks)
    of_a = np.zeros(views.of.listed() + 1, np.int64)
    for part in parts:
        a = read_table(part, MATCHES, ["a"])["a"].to_numpy() // count
        of_a += np.bincount(a, minlength=len(of_a))
    ends = np.flatnonzero(np.diff(np.cumsum(of_a) // _FOLDED_AT_ONCE, append=-1)) + 1
    for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        tables = [_between(read_table(part, MATCHES, _NAMED), start * count, stop * count) for part in parts]
        rows = pa.concat_tables(tables)
        a, look_a = np.divmod(rows["a"].to_numpy(), count)
        b, look_b = np.divmod(rows["b"].to_numpy(), count)
        turn = pc.index_in(rows["orientation"], pa.array(ORIENTATIONS)).to_numpy().astype(np.int64)
        sse = rows["sse"].to_numpy()
        order = np.lexsort((look_b, look_a, turn, sse, b, a))
        columns = [column[order] for column in (a, b, sse, turn, look_a, look_b)]
        new = np.diff(columns[0], prepend=-1) | np.diff(columns[1], prepend=-1)
        keep = np.flatnonzero((new != 0) & (columns[0] != columns[1]))
        if len(keep):
            a, b, sse, turn, look_a, look_b = (column[keep] for column in columns)
            yield a, b, sse, turn, look_a, look_b


def _between(rows: pa.Table, start: int, stop: int) -> pa.Table:
    a = rows["a"].to_numpy()
    return rows.filter(pa.array((start <= a) & (a < stop)))


def _rows(
    columns: tuple[Ints, Ints, Ints, Ints, Ints, Ints], paths: pa.ChunkedArray, looks: Sequence[str], values: int
) -> pa.Table:
    """A table of schema MATCHES_BY_LOOKS of what `_least` gives."""
    a, b, sse, turn, look_a, look_b = columns
    table, names = match_rows((a, b, sse, turn, sse / values), paths, values), pa.array(looks)
    for name, look in (("look_a", look_a), ("look_b", look_b)):
        table = table.append_column(name, names.take(pa.array(look)))
    return table.cast(MATCHES_BY_LOOKS)
