"""Which pairs are asked for at all: by root, size, aspect, hash. Decided for whole blocks of images where possible."""

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools, Int32s, Ints, id_dtype
from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError
from dupegrid.core.keys import fingerprint
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import HASHES, IMAGES
from dupegrid.storage.table_checks import check_images
from dupegrid.storage.tables import read_table


@dataclass(frozen=True)
class Ask:
    """What decides which pairs are matches, and their scores."""

    cutoff: float
    orientations: str
    scope: str
    against: bool
    same_size: bool
    max_aspect: float | None
    metric: str
    same_hash: str
    hash: str | None  # none where pairs do not go by it
    metric_code: str  # what its code is known by
    hash_code: str

    @classmethod
    def of(cls, config: Config, metric_code: str, hash_code: str = "") -> "Ask":
        """What a configuration asks for."""
        values = {field.name: getattr(config, field.name) for field in fields(cls)[:-2]}
        values |= {"against": bool(config.against), "metric_code": metric_code, "hash_code": hash_code}
        return cls(**values | ({"hash": None} if config.same_hash == "any" else {}))

    def key(self, images: str) -> str:
        """A key of the matches among images that have a key: equal when these would be the same."""
        return fingerprint(images, *astuple(self))


@dataclass(frozen=True)
class Facts:
    """What comparing needs to know of images, one entry an image: 17 bytes, as it is held for all images."""

    ok: Bools
    roots: Int32s
    widths: Int32s  # 0 where not known
    heights: Int32s
    identical_to: Ints  # -1 where null; int32 where that holds all ids
    hash_texts: Callable[[], pa.ChunkedArray]  # called where pairs go by them

    @cached_property
    def hashes(self) -> Ints:
        """A number of the hash of each image, int64 (n,), equal where that is; -1 where there is none."""
        return numbered(self.hash_texts())

    @cached_property
    def live(self) -> Ints:
        """The ids that are compared one by one: readable, and not stood for by another."""
        return np.flatnonzero(self.ok & (self.identical_to < 0))


def read_facts(run_dir: RunDir) -> Facts:
    """The facts of a run directory."""
    names = ["status", "root", "width", "height", "identical_to"]

    def read() -> Facts:
        images = check_images(run_dir.images, run_dir.image_columns(IMAGES, names))
        return facts_of(images, partial(_read_hashes, run_dir, len(images)))

    return run_dir.once("facts", read)


def facts_of(images: pa.Table, hash_texts: Callable[[], pa.ChunkedArray] | None = None) -> Facts:
    """The facts of a table of schema IMAGES; unless `hash_texts` gives them, hashes are its column `hash`."""
    return Facts(
        ok=pc.equal(images["status"], "ok").to_numpy(),
        roots=pc.fill_null(images["root"], 0).to_numpy(),
        widths=pc.fill_null(images["width"], 0).to_numpy(),
        heights=pc.fill_null(images["height"], 0).to_numpy(),
        identical_to=pc.fill_null(images["identical_to"], -1).to_numpy().astype(id_dtype(len(images))),
        hash_texts=hash_texts or partial(images.column, "hash"),
    )


def numbered(hashes: pa.ChunkedArray) -> Ints:
    """A number of each text, equal where the text is; -1 for null."""
    codes = hashes.combine_chunks().dictionary_encode().indices
    return pc.fill_null(codes, -1).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _read_hashes(run_dir: RunDir, images: int) -> pa.ChunkedArray:
    hashes = read_table(run_dir.hashes, HASHES, ["hash"])["hash"]
    if len(hashes) != images:
        raise DamagedError(run_dir.hashes, "it is of other images")
    return hashes


@dataclass(frozen=True)
class Filters:
    """The pairs asked for. `allowed[r][s]` says whether images of roots r and s are to be compared."""

    allowed: tuple[tuple[bool, ...], ...]
    same_size: bool
    max_aspect: float | None
    turning: bool  # sides may be swapped, as quarter turns count as the same
    same_hash: str  # 'any', 'only' or 'skip'

    @classmethod
    def of(cls, config: Config) -> "Filters":
        """The filters that a configuration asks for."""
        roots, first_of_b = range(len(config.roots)), config.first_against

        def allowed(r: int, s: int) -> bool:
            if config.against:
                return (r < first_of_b) != (s < first_of_b)
            return config.scope == "all" or (r == s) == (config.scope == "within")

        table = tuple(tuple(allowed(r, s) for s in roots) for r in roots)
        return cls(table, config.same_size, config.max_aspect, config.orientations != "none", config.same_hash)

    @cached_property
    def none(self) -> bool:
        """Whether every pair is asked for."""
        return (
            all(map(all, self.allowed)) and not self.same_size and self.max_aspect is None and self.same_hash == "any"
        )

    def keys(self, facts: Facts, ids: Ints) -> Ints:
        """A number for each image: images of one number are asked for alike, whatever their partner."""
        columns = [np.zeros(len(ids), np.int64)]
        if not all(map(all, self.allowed)):
            columns.append(facts.roots[ids].astype(np.int64))
        if self.same_size:
            columns += self._sides(facts, ids)
        if len(columns) == 1:
            return columns[0]
        _, keys = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        return keys.reshape(-1).astype(np.int64)

    def of_roots(self, facts: Facts, first: Ints, second: Ints) -> Bools:
        """Whether the roots of paired images, ids (k,) and (k,), are to be compared."""
        return np.asarray(self.allowed, bool)[facts.roots[first], facts.roots[second]]

    def of_sizes(self, facts: Facts, first: Ints, second: Ints) -> Bools:
        """Whether paired images, ids (k,) and (k,), have the same size and like aspects, where that is asked for."""
        keep = np.ones(len(second), bool)
        (a_long, a_short), (b_long, b_short) = self._sides(facts, first), self._sides(facts, second)
        if self.same_size:
            keep &= (a_long == b_long) & (a_short == b_short)
        if self.max_aspect is not None:
            a, b = a_long * b_short, b_long * a_short
            keep &= np.maximum(a, b) <= self.max_aspect * np.minimum(a, b)
        return keep

    def of_hashes(self, facts: Facts, first: Ints, second: Ints) -> Bools:
        """Whether paired images, ids (k,) and (k,), have the same hash, or not the same, where that is asked for."""
        if self.same_hash == "any":
            return np.ones(len(second), bool)
        same: Bools = facts.hashes[first] == facts.hashes[second]
        return same if self.same_hash == "only" else ~same

    def partners(self, block: Ints, others: Ints, own: slice) -> Ints:
        """With how many images of a block each other image is to be compared, by small numbers of their hashes.

        (m,), (n,) -> int64 (n,). No image is compared with itself: the block is `own` of the others.
        """
        same = np.bincount(block, minlength=int(others.max()) + 1)[others]
        if self.same_hash == "skip":
            return len(block) - same
        same[own] -= 1
        return same

    def asked_for(self, facts: Facts, ids: Ints) -> int:
        """How many pairs of these images are of roots to be compared."""
        allowed = np.asarray(self.allowed, np.int64)
        count = np.bincount(facts.roots[ids], minlength=len(allowed))
        return int(count @ allowed @ count - count @ np.diag(allowed)) // 2

    def _sides(self, facts: Facts, ids: Ints) -> tuple[Ints, Ints]:
        width, height = (sides[ids].astype(np.int64) for sides in (facts.widths, facts.heights))  # to be multiplied
        return (np.maximum(width, height), np.minimum(width, height)) if self.turning else (width, height)
