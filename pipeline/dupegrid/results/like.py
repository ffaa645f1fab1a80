"""What is like one picture: an image of a run, or a file that nobody has put there. Reads only."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHOICES, Bools, Float64s, Ints, Pixels, values_of
from dupegrid.core.errors import InputError, UsageError
from dupegrid.core.text import counted, printable, shown_path
from dupegrid.core.values import StrPath
from dupegrid.images.decoded import Decoded
from dupegrid.images.decoder import File
from dupegrid.images.facts import reading_of
from dupegrid.images.levels import COSINES, of_look
from dupegrid.images.sandbox import decode_files
from dupegrid.images.views import by_views, looks_at
from dupegrid.pairs.ask import Filters, facts_of
from dupegrid.pairs.matches import sse_limit
from dupegrid.results.answers import Answer
from dupegrid.results.explain import Side, side_of
from dupegrid.results.nearest import nearest
from dupegrid.results.run_like import RunLike
from dupegrid.results.stored import clusters_of, images_of

_SHOWN: Final = 20
_SIDE: Final = ("id", "path", "width", "height", "size_bytes", "format", "status")


@dataclass(frozen=True)
class Place:
    """Where an image is in the clusters of its run: columns of clusters.parquet."""

    cluster: int
    role: str
    keeper: str  # its path
    mse_to_keeper: float | None
    reason: str | None
    rule: str | None
    compared: str | None


@dataclass(frozen=True)
class Neighbour:
    """An image that is like the picture."""

    id: int
    path: str
    width: int
    height: int
    size_bytes: int
    mse: float
    orientation: str  # what is done to it
    same_file: bool  # equal byte for byte
    not_asked_for: bool  # the run, by its settings, never compared the two


@dataclass(frozen=True, repr=False)
class Likeness(Answer):
    """What is like a picture; all values are MSE, whatever the metric of the run."""

    picture: Side
    error: str | None  # why it was not read
    flat: bool  # it is one colour, or nearly: its MSE says little
    clustered: bool  # whether the run has clusters by now
    place: Place | None  # None of what is in no cluster
    threshold: float
    cutoff: float
    matches: int | None  # how many are at or under the cutoff; None where that is of another metric
    nearest: list[Neighbour]  # the first of these; where there is none, the nearest there is

    def __repr__(self) -> str:
        first = (
            f", the nearest {printable(self.nearest[0].path)} at MSE {self.nearest[0].mse:.4g}" if self.nearest else ""
        )
        known = "" if self.matches is None else f" {counted(self.matches, 'image')} at or under {self.cutoff:g}"
        return f"Likeness of {printable(self.picture.path)}:{known}{first}; picture, place, nearest"


def like(run: RunLike, image: StrPath | int) -> Likeness:
    """What is like an image of a run, or a file: one that is there goes before the end of an image's path.

    InputError for a file that is not read, UsageError for what is neither.
    """
    path = os.fsencode(image if isinstance(image, bytes | os.PathLike) else str(image))
    if not path.isdigit() and os.path.isfile(path):
        whole = [os.path.abspath(path), os.path.realpath(path)]
        known = next((id for id in (_id_at(run, each) for each in whole) if id >= 0), -1)
        return _of_image(run, known) if known >= 0 else _of_file(run, whole[1])
    try:
        return _of_image(run, run.id_of(image))
    except UsageError as error:
        raise UsageError(f"{error}, or a file that is there") from None


def _id_at(run: RunLike, path: bytes) -> int:
    """The image of a path, or -1."""
    start = 0
    for part in images_of(run).each(["path_raw"]):
        place = pc.index(part["path_raw"], path).as_py()
        if place >= 0:
            return start + int(place)
        start += len(part)
    return -1


def _of_image(run: RunLike, id: int) -> Likeness:
    ids = np.array([id])
    (row,) = images_of(run).take(ids, [*_SIDE, "error", "flat", "file_hash"]).to_pylist()
    wanted = _ok(run)
    looks = _looks_of(run, ids)[0]
    there = wanted[id]
    wanted[id] = False
    return _likeness(run, row, looks if there else None, wanted, _place(run, id))


def _of_file(run: RunLike, path: bytes) -> Likeness:
    """Raises InputError where it is not read."""
    wanted = _ok(run)
    _looks_of(run, np.empty(0, np.int64))  # says what of the run is lacking before anything is decoded
    status = os.stat(path)
    file = File(path, status.st_size, status.st_mtime_ns)
    # Taken whole: a generator that is left early would end the process that decodes.
    (found,) = [found for _, found in decode_files([file], reading_of(run.config), run.config.file_timeout)]
    if found.thumb is None:
        reason = f" ({found.error})" if found.error else ""
        raise InputError(f"{shown_path(path)} was not read: {found.status}{reason}")
    row = {**found._asdict(), "id": None, "path": shown_path(path), "size_bytes": file.size_bytes}
    return _likeness(run, row, _thumbs_in(found), wanted, None)


def _thumbs_in(decoded: Decoded) -> Pixels:
    """The thumbnails by all looks, uint8 (looks, S, S, 3)."""
    assert decoded.thumb is not None
    first = decoded.thumb[None]
    return first if decoded.crops is None else np.concatenate([first, decoded.crops])


def _ok(run: RunLike) -> Bools:
    """Which images were read, bool (n,)."""
    found: Bools = images_of(run).made(["status"], lambda part: pc.equal(part["status"], "ok").to_numpy(), bool)
    return found


def _looks_of(run: RunLike, ids: Ints) -> Pixels:
    """The thumbnails of some images by all looks, uint8 (k, looks, S, S, 3). StoreError unless all is of the run."""
    thumbs = run.thumbs_of(ids)[:, None]
    if run.config.looks[1:]:
        run.run_dir.check_seals(*(of_look(COSINES, look) for look in run.config.looks))
        return looks_at(run.run_dir, ids)
    return thumbs


def _place(run: RunLike, id: int) -> Place | None:
    if not run.is_clustered:
        return None
    names = ["image", "cluster", "role", "keeper", "mse_to_keeper", "reason", "rule", "compared"]
    parts = (part.filter(pc.equal(part["image"], id)) for part in clusters_of(run).each(names))
    row = next((part.to_pylist()[0] for part in parts if len(part)), None)
    if row is None:
        return None
    (keeper,) = images_of(run).take(np.array([row["keeper"]]), ["path"])["path"].to_pylist()
    return Place(**{**{name: row[name] for name in names[1:]}, "keeper": keeper})


def _likeness(
    run: RunLike, row: Mapping[str, Any], looks: Pixels | None, wanted: Bools, place: Place | None
) -> Likeness:
    config, by_mse = run.config, run.config.metric == "mse"
    values, found, matches = values_of(config.thumb), list[Neighbour](), 0
    if looks is not None:
        limit = sse_limit(config.cutoff, values) if by_mse else -1
        turns = CHOICES[config.orientations]
        ids, sse, turn = nearest(by_views(run.run_dir, config), looks, turns, wanted, limit, 1 if by_mse else _SHOWN)
        matches = int(np.count_nonzero(sse <= limit))
        some = slice(_SHOWN)
        found = _neighbours(run, row, ids[some], sse[some] / values, [turns[k] for k in turn[some].tolist()])
    return Likeness(
        side_of(row),
        row["error"],
        bool(row["flat"]),
        run.is_clustered,
        place,
        config.threshold,
        config.cutoff,
        matches if by_mse else None,
        found,
    )


def _neighbours(
    run: RunLike, row: Mapping[str, Any], ids: Ints, mse: Float64s, orientations: Sequence[str]
) -> list[Neighbour]:
    """Images by their ids, int64 (k,), float64 (k,) and k words, as the picture of a row has them."""
    names = ["id", "path", "width", "height", "size_bytes"]
    rows = images_of(run).pick(ids, [*names, "file_hash"]).to_pylist()
    left_out = np.zeros(len(ids), bool) if row["id"] is None else _not_asked_for(run, row["id"], ids)
    return [
        Neighbour(
            **{name: of[name] for name in names},
            mse=score,
            orientation=turn,
            same_file=of["file_hash"] is not None and of["file_hash"] == row["file_hash"],
            not_asked_for=left,
        )
        for of, score, turn, left in zip(rows, mse.tolist(), orientations, left_out.tolist(), strict=True)
    ]


def _not_asked_for(run: RunLike, id: int, ids: Ints) -> Bools:
    """Whether the settings of the run leave out the pairs of an image with others, ids (k,): bool (k,)."""
    filters = Filters.of(run.config)
    if filters.none:
        return np.zeros(len(ids), bool)
    both = np.append(ids, id)
    some = images_of(run).pick(both, ["status", "root", "width", "height", "identical_to"])
    if run.config.same_hash != "any":
        some = some.append_column("hash", run.hashes["hash"].take(pa.array(both)))
    facts, other = facts_of(some), np.arange(len(ids))
    one = np.full(len(ids), len(ids))
    kept: Bools = filters.of_roots(facts, one, other) & filters.of_sizes(facts, one, other)
    return ~(kept & filters.of_hashes(facts, one, other))
