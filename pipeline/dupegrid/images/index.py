"""The index stage: files -> thumbs.zarr and images.parquet. One partition of a dask bag = one chunk, written whole.

A chunk's rows are written before its thumbnails, so a chunk of thumbs.zarr that exists has its rows beside it. What the
rows were made from is in their metadata: a chunk whose files have changed since is made again, but for the files in it
that have not.
"""

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import dask.bag as db
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.arrays import Ints, Pixels
from dupegrid.chunks import row_sums
from dupegrid.config import CHANNELS, Config
from dupegrid.errors import StoreError
from dupegrid.images.discover import Listing
from dupegrid.images.merge import merge
from dupegrid.images.sandbox import File, decode_files
from dupegrid.images.thumbnail import RECIPE, Decoded, Reading
from dupegrid.pairs.bounds import all_cell_sums, cell_dtype, levels
from dupegrid.progress import Reporter
from dupegrid.records import (
    FILES,
    IMAGE_PART,
    IMAGES,
    discard_from,
    display_path,
    fingerprint,
    read_metadata,
    read_row_group,
    read_table,
    write_table,
)
from dupegrid.runtime import Runtime
from dupegrid.store import SUMS, Arrays, Thumbs, chunk_size, stored_fingerprint

COLLAPSE_OVER: Final = 64  # sets of identical thumbnails larger than this are listed against their lowest id alone
_TRIED_AGAIN: Final = ("unreadable", "changed")  # may have passed
_BY_SETTINGS: Final = ("too_large", "timeout")  # may be well with other settings
_IDENTITY: Final = ("size_bytes", "mtime_ns", "device", "inode")
# Columns of a chunk's rows that come from the listing; and those that decoding found.
_LISTED: Final = ("id", "path_raw", "root", "group", *_IDENTITY)
_FOUND: Final = tuple(name for name in IMAGE_PART.names if name not in (*_LISTED, "path"))


@dataclass(frozen=True)
class Progress:
    """How far the index of a run directory is; `rows` holds the files done so far."""

    done: int
    total: int
    rows: pa.Table


def index(listing: Listing, config: Config, run_dir: Path, runtime: Runtime, reporter: Reporter) -> str:
    """Make thumbs.zarr and images.parquet, going on where an earlier run stopped; files it knows keep their ids.

    Returns the index mark, the fingerprint of images.parquet: equal when all rows are.
    """
    thumbs = _prepared(listing, config, run_dir)
    pending = _pending(run_dir, thumbs, config)
    done_files = len(thumbs) - sum(_files_in(thumbs, k) for k in pending)
    if pending:
        (run_dir / "images.parquet").unlink(missing_ok=True)
    with reporter.stage("index", len(thumbs), "images", done_files) as advance:
        if pending:
            opened = fingerprint(_thumbs_mark(config), len(thumbs), uuid.uuid4().hex)
            task = partial(index_chunk, run_dir, opened, reading_of(config), config.file_timeout)
            runtime.compute(db.from_sequence(pending, partition_size=1).map(task), lambda counts: advance(sum(counts)))
    marks = [read_metadata(_part(run_dir, k))["rows"] for k in range(thumbs.chunks)]
    mark = fingerprint(_thumbs_mark(config), COLLAPSE_OVER, _set_keys(config), marks)
    if images_fingerprint(run_dir) != mark:
        table = _with_representatives(read_table(run_dir / "index", IMAGE_PART), _set_keys(config))
        write_table(run_dir / "images.parquet", table.replace_schema_metadata({"fingerprint": mark}))
    return mark


def images_fingerprint(run_dir: Path) -> str | None:
    """The fingerprint of images.parquet, or None where there is none."""
    return read_metadata(run_dir / "images.parquet").get("fingerprint")


def index_progress(run_dir: Path, config: Config) -> Progress:
    """How far the index is, from the stores alone."""
    if stored_fingerprint(run_dir / "thumbs.zarr") is None:
        return Progress(0, 0, IMAGE_PART.empty_table())
    thumbs = Thumbs(run_dir / "thumbs.zarr")
    done = len(thumbs) - sum(_files_in(thumbs, k) for k in _pending(run_dir, thumbs, config, again=False))
    return Progress(done, len(thumbs), read_table(run_dir / "index", IMAGE_PART))


def index_chunk(run_dir: Path, mark: str, reading: Reading, timeout_s: float, number: int) -> int:
    """Decode the files of chunk `number`, write its rows and then its thumbnails. Returns how many files it has.

    `mark` changes whenever the stores do.
    """
    thumbs, cells = _opened(run_dir, mark)
    files = read_row_group(run_dir / "files.parquet", number)
    known, chunk = _known(run_dir, thumbs, number, files, reading)
    missing = [place for place, decoded in enumerate(known) if decoded is None]
    listed = files.select(File._fields).take(pa.array(missing, pa.int64())).to_pydict()
    wanted = [File(*fields) for fields in zip(*listed.values(), strict=True)]
    chunk[missing] = 0
    for at, decoded in decode_files(wanted, reading, timeout_s):
        known[missing[at]] = decoded
        if decoded.thumb is not None:
            chunk[missing[at]] = decoded.thumb
    table = _rows(files, [decoded for decoded in known if decoded is not None])
    _write(run_dir, number, table, chunk, _facts(files, table, _settings_mark(reading, timeout_s)), thumbs, cells)
    return len(files)


@lru_cache(maxsize=2)
def _opened(run_dir: Path, _mark: str) -> tuple[Thumbs, Arrays]:
    """The stores, open from task to task."""
    return Thumbs(run_dir / "thumbs.zarr"), Arrays(run_dir / "levels.zarr")


def _known(
    run_dir: Path, thumbs: Thumbs, number: int, files: pa.Table, reading: Reading
) -> tuple[list[Decoded | None], Pixels]:
    """What an earlier run found of the files of a chunk, None for those to be decoded; and their thumbnails."""
    chunk = np.zeros((len(files), thumbs.side, thumbs.side, CHANNELS), np.uint8)
    before: list[dict[str, Any]] = []
    thumbs_are_there = False
    with suppress(StoreError):  # not made yet, or damaged
        before = read_table(_part(run_dir, number), IMAGE_PART).to_pylist()
        chunk[: len(before)] = thumbs.rows(slice(number * thumbs.chunk, number * thumbs.chunk + len(before)))
        thumbs_are_there = True
    unknown: list[dict[str, Any]] = [{}] * (len(files) - len(before))
    known: list[Decoded | None] = []
    for file, old in zip(files.to_pylist(), before + unknown, strict=True):
        if file["removed"]:
            known.append(_removed(old))
        else:
            known.append(_kept(file, old, reading) if thumbs_are_there else None)
    chunk[files["removed"].to_numpy(zero_copy_only=False)] = 0
    return known, chunk


def _removed(old: dict[str, Any]) -> Decoded:
    """What is kept of a file that is gone."""
    found = {name: old[name] for name in _FOUND if name in old}
    return Decoded(**found | {"status": "removed", "error": None, "flat": None, "thumb_hash": None})


def _kept(file: dict[str, Any], old: dict[str, Any], reading: Reading) -> Decoded | None:
    """What was found of a file, if it is the same and would be read alike; else None."""
    if not old or old["status"] in (*_TRIED_AGAIN, *_BY_SETTINGS, "removed"):
        return None
    moved_here = file["known_hash"] is not None and file["known_hash"] == old["file_hash"]
    if not moved_here and any(file[name] != old[name] for name in _IDENTITY):
        return None
    if (old["width"] or 0) * (old["height"] or 0) > reading.max_pixels:
        return None
    return Decoded(**{name: old[name] for name in _FOUND})


def _rows(files: pa.Table, found: Sequence[Decoded]) -> pa.Table:
    columns = {name: files[name] for name in _LISTED}
    columns["path"] = pa.array([display_path(path) for path in files["path_raw"].to_pylist()])
    for name in _FOUND:
        columns[name] = pa.array([getattr(decoded, name) for decoded in found], IMAGE_PART.field(name).type)
    return pa.table({name: columns[name] for name in IMAGE_PART.names}, schema=IMAGE_PART)


def _write(
    run_dir: Path, number: int, table: pa.Table, chunk: Pixels, facts: dict[str, str], thumbs: Thumbs, cells: Arrays
) -> None:
    part = _part(run_dir, number)
    before = read_metadata(part)
    if before.get("rows") == facts["rows"] and thumbs.has(number) and cells.has(number):
        if before != facts:  # nothing came of what was tried again
            write_table(part, table.replace_schema_metadata(facts))
        return
    thumbs.unmark(number)
    write_table(part, table.replace_schema_metadata(facts))
    write_thumbs(thumbs, cells, number, chunk)


def create_stores(run_dir: Path, images: int, side: int, chunk: int, mark: str) -> tuple[Thumbs, Arrays]:
    """Empty stores for the thumbnails of so many images and for what is reckoned from them."""
    cells = _create_levels(run_dir, images, side, chunk, mark)
    return Thumbs.create(run_dir / "thumbs.zarr", images, side, chunk, mark), cells


def _create_levels(run_dir: Path, images: int, side: int, chunk: int, mark: str) -> Arrays:
    shapes = {str(g): ((images, g * g * CHANNELS), cell_dtype(side, g)) for g in levels(side)}
    cells = Arrays.create(run_dir / "levels.zarr", shapes | {SUMS: ((images, 2), np.uint64)}, chunk)
    cells.sign(mark)
    return cells


def write_thumbs(thumbs: Thumbs, cells: Arrays, number: int, chunk: Pixels) -> None:
    """Write a chunk of thumbnails, what is reckoned from them first: cell sums, and checksums of rows read alone."""
    levels_of = all_cell_sums(chunk)
    for g, sums in levels_of.items():
        cells.write(str(g), number * thumbs.chunk, sums)
    checks = np.stack([row_sums(chunk), row_sums(levels_of[max(levels_of)])], axis=1)
    cells.write(SUMS, number * thumbs.chunk, checks)
    thumbs.write_chunk(number, chunk)


def _facts(files: pa.Table, table: pa.Table, settings: str) -> dict[str, str]:
    """What the metadata of a chunk's rows says: what they were made from, what they are, what may be tried again."""
    status = table["status"].to_pylist()
    decoded = pc.invert(pc.is_in(table["status"], pa.array([*_BY_SETTINGS, "removed"])))
    pixels = pc.multiply(table["width"].cast(pa.int64()), table["height"].cast(pa.int64()))
    return {
        "files": _digest(files.select(_LISTED_AND_REMOVED)),
        "rows": _digest(table),
        "tried_again": str(sum(name in _TRIED_AGAIN for name in status)),
        "by_settings": str(sum(name in _BY_SETTINGS for name in status)),
        "settings": settings,
        "largest": str(pc.max(pixels.filter(decoded)).as_py() or 0),
    }


_LISTED_AND_REMOVED: Final = [*_LISTED, "removed"]


def _digest(table: pa.Table) -> str:
    """Equal when all values of a table are."""
    digest = hashlib.blake2b(digest_size=16)
    for name in table.column_names:
        digest.update(repr((name, table[name].to_pylist())).encode(errors="surrogatepass"))
    return digest.hexdigest()


def reading_of(config: Config) -> Reading:
    """How the files of a run are read."""
    return Reading(config.thumb, config.exact_decode, config.max_pixels, config.follow_symlinks)


def _settings_mark(reading: Reading, timeout_s: float) -> str:
    return fingerprint(reading.max_pixels, timeout_s)


def _thumbs_mark(config: Config) -> str:
    """The fingerprint of thumbs.zarr: equal when the same file has the same thumbnail."""
    return fingerprint(config.thumb, config.exact_decode, RECIPE)


def _prepared(listing: Listing, config: Config, run_dir: Path) -> Thumbs:
    """The stores and files.parquet for a listing: those of an earlier run with what is new, or new ones."""
    path, mark = run_dir / "thumbs.zarr", _thumbs_mark(config)
    if stored_fingerprint(path) is None and stored_fingerprint(run_dir / "levels.zarr") == mark and path.exists():
        cells = Arrays(run_dir / "levels.zarr")
        Thumbs.describe(path, cells.length(SUMS), config.thumb, cells.chunk(SUMS), mark)
    known = _known_files(run_dir) if stored_fingerprint(path) == mark else None
    if known is None:
        return _created(listing.files, config, run_dir, mark)
    thumbs = Thumbs(path)
    files = merge(known, listing.files, listing.unreadable_folders, partial(_hashes, run_dir, thumbs.chunk))
    if files != known:
        write_table(run_dir / "files.parquet", files, row_group_size=thumbs.chunk)
    try:
        cells = Arrays(run_dir / "levels.zarr")
    except StoreError:  # damaged: reckoned again, from the thumbnails
        cells = _create_levels(run_dir, len(files), thumbs.side, thumbs.chunk, mark)
    if len(files) > len(thumbs):
        cells.grow(len(files))
        thumbs.grow(len(files))
    return thumbs


def _created(files: pa.Table, config: Config, run_dir: Path, mark: str) -> Thumbs:
    discard_from(run_dir, "index")
    chunk = chunk_size(len(files), pc.sum(files["size_bytes"]).as_py() or 0)
    (run_dir / "index").mkdir()
    write_table(run_dir / "files.parquet", files, row_group_size=chunk)
    return create_stores(run_dir, len(files), config.thumb, chunk, mark)[0]


def _known_files(run_dir: Path) -> pa.Table | None:
    """The files of an earlier run: its listing, or where that is damaged what the rows say of it; None if they lack."""
    try:
        return read_table(run_dir / "files.parquet", FILES)
    except StoreError:
        pass
    try:
        rows = read_table(run_dir / "index", IMAGE_PART)
    except (StoreError, OSError):
        return None
    if rows["id"].to_pylist() != list(range(len(Thumbs(run_dir / "thumbs.zarr")))):
        return None
    columns = {name: rows[name] for name in _LISTED}
    columns |= {"removed": pc.equal(rows["status"], "removed"), "known_hash": pa.nulls(len(rows), pa.string())}
    files = pa.table({name: columns[name] for name in FILES.names}, schema=FILES)
    write_table(run_dir / "files.parquet", files, row_group_size=Thumbs(run_dir / "thumbs.zarr").chunk)
    return files


def _hashes(run_dir: Path, chunk: int, ids: Sequence[int]) -> list[str | None]:
    """The file hashes of images in an earlier run, as far as it came."""
    found: dict[int, str | None] = {}
    for number in sorted({id // chunk for id in ids}):
        try:
            part = read_table(_part(run_dir, number), IMAGE_PART, ["id", "file_hash"])
        except StoreError:
            continue
        found |= dict(zip(part["id"].to_pylist(), part["file_hash"].to_pylist(), strict=True))
    return [found.get(id) for id in ids]


def _pending(run_dir: Path, thumbs: Thumbs, config: Config, again: bool = True) -> list[int]:
    """The chunks to be made: not there, of other files, or, if `again`, with files that may be read now."""
    files = read_table(run_dir / "files.parquet", FILES, _LISTED_AND_REMOVED)
    cells = Arrays(run_dir / "levels.zarr")
    whole = {number for number in thumbs.done() if cells.has(number)}
    settings = _settings_mark(reading_of(config), config.file_timeout)

    def is_done(number: int) -> bool:
        facts = read_metadata(_part(run_dir, number)) if number in whole else {}
        if not facts or facts["files"] != _digest(files.slice(number * thumbs.chunk, thumbs.chunk)):
            return False
        other = facts["settings"] != settings and facts["by_settings"] != "0"
        retry = again and (facts["tried_again"] != "0" or other)
        return not retry and int(facts["largest"]) <= config.max_pixels

    return [number for number in range(thumbs.chunks) if not is_done(number)]


def _set_keys(config: Config) -> list[str]:
    """The columns whose values are one in a set of identical thumbnails.

    What pairs are asked for must not depend on the representative: so a set never spans the two sides of an A-versus-B
    run nor, where it matters, two roots or two sizes.
    """
    by_root = ["root"] if config.scope != "all" else []
    by_size = ["width", "height"] if config.same_size or config.max_aspect is not None else []
    return ["group", *by_root, *by_size]


def _with_representatives(parts: pa.Table, keys: list[str]) -> pa.Table:
    """Fill link_of and identical_to.

    identical_to names the image that is compared for others: of the names of one file the one with the lowest id, and
    in large sets of images with equal thumbnails the lowest id of all.
    """
    ok = parts.filter(pc.field("status") == "ok")
    link = _lowest(ok, ["device", "inode", "file_hash", *keys], len(parts), 1)
    alike = _lowest(ok, ["thumb_hash", *keys], len(parts), COLLAPSE_OVER)
    for name, column in (("link_of", link), ("identical_to", np.where(alike >= 0, alike, link))):
        parts = parts.append_column(name, pa.array(column, mask=column < 0))
    return parts.select(IMAGES.names).cast(IMAGES)


def _lowest(images: pa.Table, keys: list[str], count: int, over: int) -> Ints:
    """By id, int64 (count,): the lowest id of a set of more than `over` images with the same keys, -1 on that one."""
    sets = images.group_by(keys).aggregate([("id", "min"), ("id", "count"), ("id", "list")])
    out = np.full(count, -1, np.int64)
    for entry in sets.filter(pc.field("id_count") > over).select(["id_min", "id_list"]).to_pylist():
        members = np.array(entry["id_list"])
        out[members[members != entry["id_min"]]] = entry["id_min"]
    return out


def _part(run_dir: Path, number: int) -> Path:
    return run_dir / "index" / f"part-{number:06d}.parquet"


def _files_in(thumbs: Thumbs, chunk: int) -> int:
    return min(thumbs.chunk, len(thumbs) - chunk * thumbs.chunk)
