"""`RunDir`: every artifact of a run directory, its place, whether it is whole, and what was opened of it."""

import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from dupegrid.core.errors import StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable
from dupegrid.storage.arrays import Arrays, Thumbs, Tiles
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.files import read_json
from dupegrid.storage.hold import Hold, writing_for
from dupegrid.storage.lock import locked
from dupegrid.storage.ours import remove
from dupegrid.storage.places import ARTIFACTS, LOCK, LOG
from dupegrid.storage.schemas import FILES
from dupegrid.storage.tables import described, read_group, read_metadata, read_pieces, read_table, row_count

THUMBS: Final = "thumbs"  # its name among the seals

T = TypeVar("T")


class RunDir:
    """A run directory, or a place for one: nothing need be there. What is opened of it is opened once, until `renew`.

    A task is given one; in another process it finds what the tasks before it have opened.
    """

    def __init__(self, path: Path, generation: str = "") -> None:
        self.path = path
        self.lock = path / LOCK
        self.log = path / LOG  # what a run in the background says
        self.run_json = path / "run.json"
        self.files = path / "files.parquet"
        self.parts = path / "index"
        self.images = path / "images.parquet"
        self.images_before = self.parts / "_images.parquet"  # those of an earlier run, while chunks are made again
        self.hashes = path / "hashes.parquet"
        self.thumbs_zarr = path / "thumbs.zarr"
        self.levels_zarr = path / "levels.zarr"
        self.sorted_zarr = path / "sorted.zarr"
        self.tiles_zarr = path / "tiles.zarr"
        self.matrix_zarr = path / "mse.zarr"
        self.matches = path / "matches.parquet"
        self.collapsed = self.matches / "part-identical.parquet"  # pairs with the representative of a set
        self.adopted = self.matches / "part-settled.parquet"  # matches among settled images
        self.relations = path / "relations.parquet"
        self.equal_files = self.relations / "part-equal.parquet"  # those of files that are equal byte for byte
        self.settled = path / "settled.parquet"
        self.settled_matches = path / "settled-matches.parquet"  # where those wait while matches.parquet goes
        self.compared = path / "compared.parquet"
        self.receipt = path / "receipt.json"
        self.unfinished = path / "unfinished.json"  # what the last run could not do (unfinished.py)
        self.progress = path / "progress.json"  # while a run is at it: how far
        self.clusters = path / "clusters.parquet"
        self.report = path / "report.html"
        self.plan = path / "plan.parquet"
        self.decisions = path / "decisions.parquet"
        self.journal = path / "journal.jsonl"
        self._generation = generation or uuid.uuid4().hex
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def part(self, number: int) -> Path:
        """The rows of chunk `number`: schema IMAGE_PART."""
        return self.parts / f"part-{number:06d}.parquet"

    def match_part(self, i: int, j: int, part: int) -> Path:
        """A part of the matches of tile (i, j): schema MATCHES."""
        return self.matches / f"part-{i:05d}-{j:05d}-{part:03d}.parquet"

    def relation_part(self, number: int) -> Path:
        """The relations of piece of work `number`: schema RELATIONS_TABLE."""
        return self.relations / f"part-{number:06d}.parquet"

    def once(self, name: Hashable, make: Callable[[], T], keep: int | None = None) -> T:
        """What `make` gives, made when it is first asked for under this name, and kept until `renew`.

        With `keep`, a name is a pair, and so many of the pairs that begin alike are kept: the last ones asked for.
        """
        made: Future[T] = Future()
        try:
            with self._lock:
                kept: Future[T] = self._kept.setdefault(name, made)
                self._kept.move_to_end(name)
                if keep is not None and isinstance(name, tuple):
                    alike = [key for key in self._kept if isinstance(key, tuple) and key[0] == name[0]]
                    for key in alike[:-keep]:
                        del self._kept[key]
            if kept is made:
                made.set_result(make())
        except BaseException as error:  # a Ctrl-C anywhere here too, or who asks next would wait for ever
            made.set_exception(error)
            with self._lock:
                if self._kept.get(name) is made:
                    del self._kept[name]
            raise
        return kept.result()

    def renew(self, *same: str, **made: Any) -> None:
        """Forget what was opened: something was made anew. Tasks that are started from now on open it again.

        What stays the `same` is kept, by its name. Where it is said what was `made`, that takes the place of what was
        opened, and the rest is kept.
        """
        with self._lock:
            self._generation = uuid.uuid4().hex
            if not made:
                self._kept = OrderedDict((name, self._kept[name]) for name in same if name in self._kept)
            for name, value in made.items():
                self._kept[name] = Future()
                self._kept[name].set_result(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared, (self.path, self._generation)

    def listing(self, number: int) -> pa.Table:
        """The rows of files.parquet that are of chunk `number`: schema FILES."""
        return read_group(self.files, number, FILES, about=self.once("listing", lambda: described(self.files)))

    def thumbs(self) -> Thumbs:
        """thumbs.zarr."""
        return self.once("thumbs", lambda: Thumbs(self.thumbs_zarr))

    def levels(self) -> Arrays:
        """levels.zarr."""
        return self.once("levels", lambda: Arrays(self.levels_zarr))

    def order(self) -> Arrays:
        """sorted.zarr."""
        return self.once("order", lambda: Arrays(self.sorted_zarr))

    def tiles(self) -> Tiles:
        """tiles.zarr."""
        return self.once("tiles", lambda: Tiles(self.tiles_zarr))

    def tiles_keys(self) -> tuple[str, str]:
        """The keys of the comparison whose tiles are there, of its pairs and its layout; empty where there are none."""
        facts = stored_facts(self.tiles_zarr)
        return str(facts.get("pairs", "")), str(facts.get("layout", ""))

    def image_columns(self, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
        """Some columns of images.parquet."""
        return read_table(self.images, schema, list(names))

    def image_pieces(self, schema: pa.Schema, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of images.parquet, a piece at a time."""
        return read_pieces(self.images, schema, names)

    def listed(self) -> int:
        """How many images images.parquet lists."""
        return row_count(self.images)

    def counted_matches(self) -> int:
        """How many matches a finished comparison counted. KeyError or StoreError where there is none."""
        return int(read_json(self.receipt)["matches"])

    def images_key(self) -> str:
        """The key of images.parquet: equal when all of its rows are; empty where there is no such file."""
        return read_metadata(self.images).get("fingerprint", "")

    def seals(self) -> str:
        """The seals of all arrays as they are on disk, as a fact of images.parquet.

        Every chunk ends with a checksum of itself; the seal of an array is a digest of these. What was stored at
        another moment is whole too, and of other files.
        """
        return json.dumps({name: self._seal(name) for name in (*self.levels().names, THUMBS)}, sort_keys=True)

    def check_seals(self, *names: str) -> None:
        """Raise StoreError unless these arrays, of levels.zarr or `THUMBS`, are those that images.parquet is of."""
        known = json.loads(read_metadata(self.images).get("seals", "{}"))
        if any(known.get(name) != self._seal(name) for name in names):
            raise StoreError(
                f"the thumbnails in {printable(str(self.path))} are of another moment than its images.parquet: "
                "run 'dupegrid run' again to make them"
            )

    def _seal(self, name: str) -> str:
        return fingerprint(self.thumbs().checksums() if name == THUMBS else self.levels()[name].checksums())

    def discard_from(self, stage: str, keep: Sequence[str] = ()) -> None:
        """Remove what a stage and all later ones left, the last first: it was made from something else."""
        stages, there = list(ARTIFACTS), {path.name for path in self.path.iterdir()}
        for later in reversed(stages[stages.index(stage) :]):
            for name in ARTIFACTS[later]:
                if name in there and name not in keep:
                    remove(self.path / name)
        if stage == "index":  # of the later ones nothing stays open that is not made anew
            self.renew()

    def locked(self, say: Callable[[str], object]) -> AbstractContextManager[Hold]:
        """The lock of the run directory (lock.py); `say` is told where that of a dead run is taken over."""
        return locked(self.path, say)

    def writing_for(self, token: str) -> AbstractContextManager[None]:
        """Write only while the run with this token has the run directory (hold.py)."""
        return writing_for(Hold(self.path, token))


_handle = lru_cache(2)(RunDir)  # of so many run directories, kept in a process from task to task
_handles_lock = threading.Lock()


def _shared(path: Path, generation: str) -> RunDir:
    """The handle that all tasks of a process share."""
    with _handles_lock:
        return _handle(path, generation)
