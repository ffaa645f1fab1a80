"""The stage of relations: matches.parquet -> relations.parquet, by a look at matching pictures at full resolution.

Images are put into blocks, those that match each other into one as far as they fit; a piece of work is all pairs of two
blocks. It decodes each of its pictures once, in the processes that decode, holds a picture until its last pair is told,
and writes its part whole: the mark. Files that are equal byte for byte are not opened.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Ints, id_dtype
from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError
from dupegrid.core.keys import fingerprint
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.images.archives import forget_archives
from dupegrid.images.chunk import decoded_of
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.decoder import File
from dupegrid.images.facts import TRIED_AGAIN, reading_of
from dupegrid.images.relation import MOST_PIXELS, RULES, Verdict, relation
from dupegrid.images.remote import is_address, place_of
from dupegrid.images.sources import Sources
from dupegrid.pairs.batches import SortedMatches
from dupegrid.pairs.matches import PART
from dupegrid.storage.hold import current_hold
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES, MATCHES, RELATIONS_TABLE
from dupegrid.storage.tables import is_whole, parts_in, read_metadata, write_table
from dupegrid.storage.unfinished import check_finished

_BLOCK_PIXELS: Final = 40_000_000  # of the pictures of a block, unless it is of one
_BLOCK_IMAGES: Final = 64
OF: Final = "relations"  # in the facts of a part: the key of what it is of
_PICTURE: Final = ("id", "path_raw", "size_bytes", "mtime_ns", "width", "height", "format", "frames", "file_hash")


@dataclass(frozen=True)
class Plan:
    """All matching pairs by piece of work: ids a and b, and what is done to b."""

    a: Ints
    b: Ints
    turn: npt.NDArray[np.int8]  # a number into ORIENTATIONS
    starts: Ints  # of each piece, and the end of the last; before the first are the pairs of equal files

    def piece(self, number: int) -> list[tuple[int, int, str]]:
        """The pairs of a piece of work."""
        here = slice(int(self.starts[number]), int(self.starts[number + 1]))
        orientations = [ORIENTATIONS[turn] for turn in self.turn[here].tolist()]
        return list(zip(self.a[here].tolist(), self.b[here].tolist(), orientations, strict=True))


@dataclass(frozen=True)
class Job:
    """What the task of a piece of work needs to know."""

    run_dir: RunDir
    comparison: str  # the key of the matches
    sources: Sources
    servers: frozenset[bytes]  # and buckets: none but those of the run's PATHs is connected to
    reading: Reading
    timeout_s: float
    token: str


def relate(config: Config, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> None:
    """Make relations.parquet of the matches that are there, going on where an earlier run stopped."""
    comparison = fingerprint(*run_dir.tiles_keys())
    reading = replace(reading_of(config), whole=True, max_pixels=min(config.max_pixels, MOST_PIXELS))
    servers = frozenset(place_of(root) for root in map(os.fsencode, config.roots) if is_address(root))
    job = Job(run_dir, comparison, Sources.of(config), servers, reading, config.file_timeout, current_hold().token)
    plan = _plan(run_dir, comparison)
    run_dir.relations.mkdir(exist_ok=True)
    for path in parts_in(run_dir.relations):
        facts = read_metadata(path)
        if not _made_from(comparison).items() <= facts.items() or facts.get(PART, path.name) != path.name:
            remove(path)
    if not is_whole(run_dir.equal_files, RELATIONS_TABLE, equal := int(plan.starts[0])):
        words = pa.array(["same_bytes"] * equal, pa.string())
        columns = [plan.a[:equal], plan.b[:equal], words, np.zeros(equal), pa.nulls(equal, pa.string())]
        table = pa.table(columns, schema=RELATIONS_TABLE)
        write_table(run_dir.equal_files, table, _facts(job, run_dir.equal_files, Counter()))
    sizes = np.diff(plan.starts).tolist()
    pending = [n for n, size in enumerate(sizes) if not _is_done(run_dir.relation_part(n), size, config.file_timeout)]
    done = len(plan.a) - sum(sizes[n] for n in pending)
    with reporter.stage("relate", len(plan.a), "pairs", done) as advance:
        aside = runtime.each(partial(tell, job), pending, advance)
    forget_archives()
    missing = [(f"piece {it.item}", sizes[it.item], it.problem) for it in aside]
    check_finished(run_dir, "relate", "pairs", missing)


def tell(job: Job, number: int) -> int:
    """Tell the relations of a piece of work, and write its part. Returns of how many pairs."""
    with job.run_dir.writing_for(job.token):
        pairs = _plan(job.run_dir, job.comparison).piece(number)
        rows: list[tuple[Any, ...]] = []
        passing: Counter[str] = Counter()
        for place, verdict, status in _verdicts(job, pairs):
            rows.append((*pairs[place][:2], *verdict))
            passing[status] += 1
        columns = dict(zip(RELATIONS_TABLE.names, zip(*sorted(rows), strict=True), strict=True))
        table = pa.table(columns, schema=RELATIONS_TABLE)
        path = job.run_dir.relation_part(number)
        write_table(path, table, _facts(job, path, passing))
    return len(pairs)


def laid_out(a: Ints, b: Ints, pixels: Ints) -> Ints:
    """The number of the piece of work of each pair, ids (k,) and (k,), sorted; `pixels` is by id. int64 (k,)."""
    # By image the place where it is named first: those of a pair, then b. The last one that is put there is the first.
    as_a, as_b = np.full((2, len(pixels)), 2 * len(a))
    as_a[a[::-1]] = np.arange(0, 2 * len(a), 2)[::-1]
    as_b[b[::-1]] = np.arange(1, 2 * len(a), 2)[::-1]
    first = np.minimum(as_a, as_b)
    ids = np.argsort(first, kind="stable")[: np.count_nonzero(first < 2 * len(a))]
    stars = np.split(ids, np.flatnonzero(np.diff(a[first[ids] // 2])) + 1)  # those that one image brings
    block, number, images, taken = np.zeros(len(pixels), np.int64), 0, 0, 0
    for star in stars:
        of_star = int(pixels[star].sum())
        fits_alone = len(star) <= _BLOCK_IMAGES and of_star <= _BLOCK_PIXELS
        for place, image in enumerate(star):
            more, count = (of_star, len(star)) if fits_alone and not place else (int(pixels[image]), 1)
            if images and (images + count > _BLOCK_IMAGES or taken + more > _BLOCK_PIXELS):
                number, images, taken = number + 1, 0, 0
            block[image] = number
            images, taken = images + 1, taken + int(pixels[image])
    pieces = np.minimum(block[a], block[b]) * (number + 1) + np.maximum(block[a], block[b])
    return np.unique(pieces, return_inverse=True)[1].reshape(-1)


def _plan(run_dir: RunDir, comparison: str) -> Plan:
    return run_dir.once(("plan of relations", comparison), partial(_planned, run_dir, comparison))


def _planned(run_dir: RunDir, comparison: str) -> Plan:
    matches = SortedMatches(run_dir, comparison, MATCHES, None)
    images = run_dir.image_columns(IMAGES, ["width", "height", "file_hash"])
    a, b = np.empty((2, len(matches)), id_dtype(len(images)))
    turn, equal, start = np.empty(len(matches), np.int8), np.empty(len(matches), bool), 0
    for part in matches.each(["a", "b", "orientation"]):
        turns = pc.index_in(part["orientation"], pa.array(ORIENTATIONS))
        if turns.null_count:
            raise DamagedError(run_dir.matches, "it has orientations that there are not")
        here, start = slice(start, start + len(part)), start + len(part)
        a[here], b[here], turn[here] = part["a"].to_numpy(), part["b"].to_numpy(), turns.to_numpy()
        hashes = [images["file_hash"].take(part[name]) for name in ("a", "b")]
        equal[here] = pc.fill_null(pc.equal(*hashes), False).to_numpy()
    pixels = np.prod([images[name].fill_null(0).to_numpy().astype(np.int64) for name in ("width", "height")], axis=0)
    piece = np.full(len(a), -1)
    if not equal.all():
        piece[~equal] = laid_out(a[~equal], b[~equal], pixels)
    order = np.argsort(piece, kind="stable")
    starts = np.searchsorted(piece[order], np.arange(piece.max(initial=-1) + 2))
    return Plan(a[order], b[order], turn[order], starts)


def relations_key(comparison: str) -> str:
    """The key of the relations of a comparison's matches, by the key of that."""
    return fingerprint(comparison, RULES, RELATIONS_TABLE.names, MOST_PIXELS)


def _made_from(comparison: str) -> dict[str, str]:
    return {OF: relations_key(comparison), "layout": fingerprint(_BLOCK_PIXELS, _BLOCK_IMAGES)}


def _facts(job: Job, path: Path, statuses: Counter[str]) -> dict[str, str]:
    """What a part says of itself: what it is of, and how many of its rows may be told another time."""
    again = sum(statuses[name] for name in TRIED_AGAIN)
    late = {"late": repr(job.timeout_s)} if statuses["timeout"] else {}
    return {**_made_from(job.comparison), PART: path.name, "again": str(again), **late}


def _is_done(path: Path, rows: int, timeout_s: float) -> bool:
    """Whether a part is there, and would be the same if it were made again."""
    facts = read_metadata(path)
    same = facts.get("again") == "0" and facts.get("late", repr(timeout_s)) == repr(timeout_s)
    return same and is_whole(path, RELATIONS_TABLE, rows)


def _verdicts(job: Job, pairs: list[tuple[int, int, str]]) -> Iterator[tuple[int, Verdict, str]]:
    """What the pictures of each pair are to each other: its place, the verdict, the status of what was not read."""
    ids = list(dict.fromkeys(image for a, b, _ in pairs for image in (a, b)))
    table = job.run_dir.once("pictures", lambda: job.run_dir.image_columns(IMAGES, _PICTURE)).take(ids)
    pictures = {row["id"]: row for row in table.to_pylist()}
    left: dict[int, set[int]] = defaultdict(set)  # the places of the pairs that an image is still needed for
    for place, (a, b, _) in enumerate(pairs):
        left[a].add(place)
        left[b].add(place)
    arrived: dict[int, Decoded] = {}
    for image, decoded in _decoded(job, pictures):
        arrived[image] = decoded
        for place in sorted(left[image]):
            a, b, orientation = pairs[place]
            if a in arrived and b in arrived:
                yield place, *_verdict([pictures[a], pictures[b]], [arrived[a], arrived[b]], orientation)
                for done in (a, b):
                    left[done].discard(place)
                    if not left[done]:
                        del arrived[done]


def _decoded(job: Job, pictures: dict[int, dict[str, Any]]) -> Iterator[tuple[int, Decoded]]:
    """All pixels of each picture, or why not."""
    wanted = []
    for image, row in pictures.items():
        if (row["width"] or 0) * (row["height"] or 0) > MOST_PIXELS:
            yield image, Decoded("too_large", f"over {MOST_PIXELS // 1_000_000} megapixels")
        elif is_address(row["path_raw"]) and place_of(row["path_raw"]) not in job.servers:
            yield image, Decoded("unreadable", "it lies on no server of this run's PATHs")
        else:
            wanted.append(image)
    files = [File(*(pictures[image][name] for name in File._fields)) for image in wanted]
    for at, decoded in decoded_of(files, job.sources, job.reading, job.timeout_s):
        same = decoded.file_hash == pictures[wanted[at]]["file_hash"]
        if decoded.status == "ok" and not same:
            decoded = Decoded("changed", "the file is not the one that was listed")
        yield wanted[at], decoded


def _verdict(rows: list[dict[str, Any]], decoded: list[Decoded], orientation: str) -> tuple[Verdict, str]:
    """What two pictures are to each other, by their rows and what was decoded; and a status that is not 'ok'."""
    for name, found in zip("ab", decoded, strict=True):
        if found.pixels is None:
            return Verdict("unknown", None, f"{name}: {found.status}: {found.error}"), found.status
    # The second picture of an MPO file is for screens that show depth, or a preview.
    frames = [1 if row["format"] == "MPO" else row["frames"] for row in rows]
    if frames[0] != frames[1]:
        of_each = " and ".join("unknown" if count is None else str(count) for count in frames)
        return Verdict("edited", None, f"other numbers of frames: {of_each}"), "ok"
    alone = all(row["frames"] == 1 for row in rows)
    proven = alone and decoded[0].beside is not None and decoded[0].beside == decoded[1].beside
    first, second = (found.pixels for found in decoded if found.pixels is not None)
    return relation(first, second, orientation, proven), "ok"
