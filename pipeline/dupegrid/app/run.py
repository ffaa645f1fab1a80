"""A run directory to look into: its tables, its thumbnails and the all-to-all matrix; and what run.json says of it."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsInt, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.keywords import read_once
from dupegrid.app.trust import codes_in
from dupegrid.core.arrays import CHOICES, Ints, Pixels
from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError, StoreError, UsageError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath
from dupegrid.images.levels import COSINES, level_shapes, row_checks
from dupegrid.images.views import looks_at
from dupegrid.pairs.ask import Ask
from dupegrid.pairs.batches import Matches, read_matches, stored_matches
from dupegrid.pairs.matrix import labelled, lazy, mse_matrix
from dupegrid.plans.decisions import in_force
from dupegrid.plans.decisions import read as read_decisions
from dupegrid.results.answers import Receipt, Summary
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.cut import Cut, as_threshold
from dupegrid.results.decided import Decided
from dupegrid.results.drawn.notebook import Html, Pairs, table_html
from dupegrid.results.drawn.report import Sheet, sheet_of
from dupegrid.results.drawn.run_html import run_html
from dupegrid.results.explain import Explanation, explain
from dupegrid.results.export.joined import TABLES, lazy_frame
from dupegrid.results.hashes import hashes_of, read_hashes
from dupegrid.results.identical import identical
from dupegrid.results.keepers import Keeping
from dupegrid.results.like import Likeness, like
from dupegrid.results.named import id_of
from dupegrid.results.relations import read_relations
from dupegrid.results.stored import (
    check_count,
    clusters_file,
    comparison_of,
    hashed_images_of,
    images_file,
    images_of,
    known_ids,
    relations_if_told,
    scores_of,
)
from dupegrid.results.summary import summary_of
from dupegrid.storage.arrays import Thumbs
from dupegrid.storage.files import read_json
from dupegrid.storage.run_dir import THUMBS, RunDir
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.table_checks import check_clusters, check_ids, check_images
from dupegrid.storage.tables import read_metadata, read_table, row_count

if TYPE_CHECKING:
    import dask.array as da  # which takes a while to load


class Run:
    """A run directory: its tables, its thumbnails and the all-to-all matrix. Reads only; see `open_run`."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.run_dir = RunDir(path)

    @read_once
    def images(self) -> pa.Table:
        """One row a file found; row number = id = row in `thumbs`."""
        path = images_file(self)
        return check_ids(path, check_images(path, read_table(path, IMAGES)), ["root"], len(self.config.roots))

    @property
    def hashes(self) -> pa.Table:
        """With `hash`, one row an image (schema HASHES): the hash of its thumbnail."""
        return read_hashes(self)

    @property
    def hashed_images(self) -> pa.Table:
        """`images`, with a column `hash` where pairs of the same hash were skipped: it says what was not compared."""
        skipped = self.config.same_hash == "skip"
        return self.images.append_column("hash", self.hashes["hash"]) if skipped else self.images

    @read_once
    def matches(self) -> pa.Table:
        """One row a pair at or under the cutoff, sorted by a and b; as far as comparing has come."""
        return self._read_matches()

    @read_once
    def match_scores(self) -> pa.Table:
        """Of `matches` the columns a, b, mse, orientation and score, which take half of the memory."""
        return self._read_matches(["a", "b", "mse", "orientation", "score"])

    @read_once
    def match_batches(self) -> Matches:
        """`matches` a batch at a time, for those who go through them: memory does not grow with them."""
        batches, count = stored_matches(*comparison_of(self), self.config.memory)
        check_count(self, count)
        return batches

    @read_once
    def relations(self) -> pa.Table:
        """One row a match: what its two pictures are to each other at full resolution; where --relations made it."""
        return read_relations(self.run_dir, self.match_scores)

    def _read_matches(self, columns: list[str] | None = None) -> pa.Table:
        matches = read_matches(*comparison_of(self), columns)
        check_count(self, len(matches))
        return matches

    @read_once
    def clusters(self) -> pa.Table:
        """One row an image in a cluster; cluster 0 is the largest, and a cluster's keeper comes first."""
        path = clusters_file(self)
        return check_clusters(path, read_table(path, CLUSTERS), len(self.images))

    def at(self, threshold: float) -> Cut:
        """The matches and clusters of another threshold, up to the cutoff, without comparing again or writing."""
        threshold = as_threshold(threshold)
        if not 0 <= threshold <= self.config.cutoff:
            raise UsageError(f"threshold {threshold:g} is not within 0 and this run's cutoff {self.config.cutoff:g}")
        asked = Asked.of(self.config, self.decided)
        rows = clusters(hashed_images_of(self), self.match_batches, threshold, asked)
        return Cut(threshold, rows, self, self.match_batches.near(threshold))

    @property
    def decided(self) -> Decided | None:
        """What people decided of pairs of its images, as it is now; None where they decided nothing."""
        made = in_force(read_decisions(self.run_dir))
        return Decided.of(self.images, made) if len(made) else None

    def identical(self, by: str = "file") -> pa.Table:
        """The sets of pictures that are equal (schema IDENTICAL), largest first, the one to keep first of its set.

        By 'file': the bytes of the files. By 'pixels': all S x S x 3 values of the upright thumbnails, of whatever size
        and format the pictures are. By 'hash': the `hash` of the run. What could not be read is in no set.
        """
        return identical(self.images, hashes_of(self, by), Keeping.of(self.config))

    @overload
    def explain(self, a: int | StrPath, b: int | StrPath) -> Explanation: ...
    @overload
    def explain(self, a: int | StrPath, b: None = None) -> Likeness: ...
    def explain(self, a: int | StrPath, b: int | StrPath | None = None) -> Explanation | Likeness:
        """Why two images match or do not; ids, or paths as they are in images.parquet, or the end of such a path.

        Of one alone, where it is and what is like it; it may also be a file that is no image of the run.
        """
        if b is None:
            return like(self, a)
        ids = np.sort([self.id_of(a), self.id_of(b)])
        thumbs = self.thumbs_of(ids)[:, None]
        if self.config.looks[1:]:
            thumbs = looks_at(self.run_dir, ids)
        a_row, b_row = self.images.take(ids).to_pylist()
        return explain(a_row, b_row, thumbs, self.match_batches, relations_if_told(self), self.config)

    def scores(self, *names: str) -> pa.Table:
        """Second scores of the matches (schema SCORES), all or those named; ssim needs scikit-image."""
        return scores_of(self, names)

    def id_of(self, image: int | StrPath) -> int:
        """The id of an image by its id, its path, or the end of one. UsageError where there is none, or are several."""
        return id_of(image, self.images)

    @property
    def is_compared(self) -> bool:
        """Whether every pair has been decided, with the settings of this run."""
        return self.run_dir.receipt.is_file() and self.pairs_key == read_json(self.run_dir.receipt).get("fingerprint")

    @property
    def is_clustered(self) -> bool:
        """Whether clusters.parquet is there, with the settings of this run."""
        return self.clusters_key.items() <= read_metadata(self.run_dir.clusters).items()

    @property
    def pairs_key(self) -> str:
        """The key of the matches that belong to these settings."""
        saved = self.saved
        return Ask.of(self.config, *codes_in(saved)).key(saved["fingerprint"])

    @property
    def clusters_key(self) -> dict[str, str]:
        """What clusters.parquet was made from, as its metadata says."""
        roles = fingerprint(self.config.keep, self.config.protect, self.config.only)
        return {"fingerprint": self.pairs_key, "threshold": repr(self.config.threshold), "roles": roles}

    def frame(self, table: str) -> Any:
        """'images', 'matches' or 'clusters' as a lazy dask dataframe, for tables that outgrow memory. Needs pandas."""
        if table not in TABLES:
            raise UsageError(f"no table {table!r}: there are {', '.join(TABLES)}")
        return lazy_frame(self.existing(f"{table}.parquet"))

    @read_once
    def thumbs(self) -> "da.Array":
        """The thumbnails, lazy: uint8 (n, S, S, 3). All zero where `images.status` is not 'ok'."""
        return lazy(self.stored_thumbs)

    def thumbs_of(self, ids: Ints) -> Pixels:
        """The thumbnails of some images, ids int64 (k,): uint8 (k, S, S, 3). UsageError for what is no id."""
        self.existing("levels.zarr")
        ids = known_ids(ids, len(self.stored_thumbs))
        return self.stored_thumbs.take(ids, row_checks(self.run_dir.levels().take(COSINES, ids)))

    @read_once
    def mse(self) -> "da.Array":
        """The MSE of all pairs, lazy: float64 (n, n), exact, the least over the orientations; NaN where not read."""
        return self.mse_on("numpy")

    def mse_on(self, module: str) -> "da.Array":
        """`mse` in blocks of an array module, 'numpy' or 'cupy'. UsageError for cupy where there is no GPU."""
        ok = pc.equal(self.images["status"], "ok").to_numpy()
        return mse_matrix(self.stored_thumbs, ok, CHOICES[self.config.orientations], module)

    def mse_xarray(self) -> Any:
        """`mse` as an xarray.DataArray, lazy too, with paths as coordinates: `.sel(a=PATH, b=PATH)`. Needs xarray."""
        return labelled(self.mse, self.images)

    def show(self, cluster: SupportsInt | Iterable[SupportsInt] = 0) -> Sheet:
        """A contact sheet of one cluster or several, which a notebook draws."""
        return sheet_of(self.clusters, self.images, self.thumbs_of, cluster)

    def pairs(self, order: str = "mse") -> Pairs:
        """The matches by their MSE, 'mse' or '-mse', which a notebook draws: `run.pairs().show(20)`."""
        return Pairs.ordered(self.match_batches, images_of(self), self.thumbs_of, order)

    def html(self, frame: Any, images: str | Sequence[str] = ("a", "b"), most: int = 50) -> Html:
        """A table of yours with pictures: its first rows, where the columns `images` hold ids. A notebook draws it."""
        return table_html(frame, [images] if isinstance(images, str) else [*images], self.images, self.thumbs_of, most)

    def review(self) -> Any:
        """The groups in a cell of a notebook, a key a decision, written as `dupegrid.review` does. Needs anywidget."""
        return import_module("dupegrid.app.review.widget").review_widget(self)  # which needs this file

    @property
    def receipt(self) -> Receipt:
        """What was compared, and how every pair was decided: receipt.json."""
        path = self.existing("receipt.json")
        try:
            return Receipt.of(read_json(path))
        except (KeyError, TypeError):
            raise DamagedError(path, "it is not what was written there") from None

    @property
    def summary(self) -> Summary:
        """The run in a few numbers."""
        return summary_of(self)

    @read_once
    def stored_thumbs(self) -> Thumbs:
        """thumbs.zarr; StoreError unless it is whole."""
        self.existing("thumbs.zarr")
        thumbs = self.run_dir.thumbs()
        thumbs.check_whole(self.config.thumb)
        self.run_dir.levels().check(level_shapes(0, self.config.thumb, self.config.looks))
        if len(thumbs) != row_count(self.run_dir.images):
            raise StoreError(f"{shown(thumbs.path)} is of other images than images.parquet: run 'dupegrid run' again")
        self.run_dir.check_seals(THUMBS, COSINES)
        return thumbs

    @property
    def saved(self) -> dict[str, Any]:
        """What run.json holds."""
        return dict(read_json(self.run_dir.run_json))

    def existing(self, name: str) -> Path:
        """The path of an artifact; StoreError, with the call that makes it, where it is missing."""
        path = self.path / name
        if not path.exists():
            raise StoreError(f"{printable(str(path))} is not there yet: make it with 'dupegrid run --out RUN'")
        return path

    def __fspath__(self) -> str:
        return str(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Run, (self.path, self.config)  # without the tables: a task that is given it reads what it needs

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return run_html(self)
