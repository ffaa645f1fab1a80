"""Several looks at each picture: views, an image by one look, where a comparison else sees images.

View `image * looks + look`, so that a view keeps its number when images are added.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupegrid.core.arrays import CHANNELS, Ints, Pixels
from dupegrid.core.config import Config
from dupegrid.core.values import WHOLE
from dupegrid.images.levels import CROPS, looks_of, of_look
from dupegrid.storage.arrays import Arrays, Thumbs
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.run_dir import THUMBS, RunDir
from dupegrid.storage.tables import read_metadata

MATCHING_VIEWS: Final = "matching views"  # a fact of a finished matches.parquet: of how many it was made


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

    def renew(self, *same: str, **made: Any) -> None:
        super().renew(*same, **made)
        self.of.renew()

    def thumbs(self) -> Thumbs:
        return self.once("thumbs", lambda: ViewThumbs(self.of))

    def levels(self) -> Arrays:
        return self.once("levels", lambda: _ViewLevels(self.of))

    def image_columns(self, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
        return self._views_of(self.of.image_columns(schema, names))

    def image_pieces(self, schema: pa.Schema, names: Sequence[str]) -> Iterator[pa.Table]:
        return map(self._views_of, self.of.image_pieces(schema, names))

    def _views_of(self, images: pa.Table) -> pa.Table:
        count = len(self.looks)
        look = np.tile(np.arange(count), len(images))
        views = images.take(np.repeat(np.arange(len(images)), count))
        for name in {"id", "identical_to"} & set(images.column_names):
            place, images_of = views.column_names.index(name), views[name].combine_chunks()
            numbers = images_of.fill_null(0).to_numpy() * count + look
            views = views.set_column(place, name, pa.array(numbers, mask=images_of.is_null().to_numpy(False)))
        return views

    def listed(self) -> int:
        return self.of.listed() * len(self.looks)

    def counted_matches(self) -> int:
        return int(read_metadata(self.of.collapsed)[MATCHING_VIEWS])


class ViewThumbs(Thumbs):
    """The thumbnails of a run by views."""

    def __init__(self, images: RunDir) -> None:
        super().__init__(images.thumbs_zarr)
        self._whole, self._crops = images.thumbs(), images.levels()
        self._looks = looks_of(self._crops)

    def __len__(self) -> int:
        return len(self._whole) * len(self._looks)

    def check_whole(self, side: int) -> None:
        self._whole.check_whole(side)

    def take(self, rows: Ints, sums: npt.NDArray[np.uint64] | None = None) -> Pixels:
        def one(look: str, *some: Any) -> Pixels:
            return self._whole.take(*some) if look == WHOLE else self._crops.take(of_look(CROPS, look), *some)

        return _by_look(self._looks, one, rows, sums)


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
        return _by_look(self._looks, lambda look, *some: self._of.take(of_look(name, look), *some), rows, sums)


def _by_look(
    looks: Sequence[str], take: Callable[..., npt.NDArray[Any]], views: Ints, sums: npt.NDArray[np.uint64] | None
) -> npt.NDArray[Any]:
    """What `take` gives for a look, some images and their checksums, for all looks: in the order of the views."""
    image, number = np.divmod(views, len(looks))
    where = [np.flatnonzero(number == k) for k in range(len(looks))]
    parts = [take(look, image[at], None if sums is None else sums[at]) for look, at in zip(looks, where, strict=True)]
    out = np.empty((len(views), *parts[0].shape[1:]), parts[0].dtype)
    for at, part in zip(where, parts, strict=True):
        out[at] = part
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
    indexed = "key" in stored_facts(run_dir.levels_zarr)
    return views_of(run_dir) if len(config.looks) > 1 and indexed else run_dir
