"""The index stage: files -> thumbs.zarr and images.parquet. One partition of a dask bag = one chunk, written whole.

A chunk's rows are written before its thumbnails, so a chunk of thumbs.zarr that exists has its rows beside it.
"""

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.bag as db
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.arrays import Pixels
from dupegrid.config import CHANNELS, Config, fingerprint
from dupegrid.images.discover import Listing
from dupegrid.images.thumbnail import RECIPE, decode_file, is_flat
from dupegrid.pairs.bounds import cell_dtype, cell_sums, levels
from dupegrid.progress import Reporter
from dupegrid.records import (
    IMAGE_PART,
    IMAGES,
    discard_from,
    display_path,
    read_metadata,
    read_row_group,
    read_table,
    write_table,
)
from dupegrid.runtime import Runtime
from dupegrid.store import Arrays, Thumbs, chunk_size, stored_fingerprint

COLLAPSE_OVER = 64  # sets of identical thumbnails larger than this are listed against their lowest id alone


@dataclass(frozen=True)
class Progress:
    """How far the index of a run directory is; `rows` holds the files done so far."""

    done: int
    total: int
    rows: pa.Table


def index_marks(listing: Listing, config: Config) -> tuple[str, str]:
    """The fingerprints of thumbs.zarr and of images.parquet: equal when they would hold the same."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in listing.files.combine_chunks().to_batches():
        digest.update(batch.serialize())
    thumbs = fingerprint(digest.hexdigest(), config.thumb, RECIPE)
    return thumbs, fingerprint(thumbs, COLLAPSE_OVER, _set_keys(config))


def index(listing: Listing, config: Config, run_dir: Path, runtime: Runtime, reporter: Reporter) -> None:
    """Make thumbs.zarr and images.parquet, going on where an earlier run stopped."""
    thumbs_mark, images_mark = index_marks(listing, config)
    if stored_fingerprint(run_dir / "thumbs.zarr") not in (None, thumbs_mark):
        reporter.say("index: the files or the way to read them changed since, so all are indexed again")
    thumbs = _opened_or_new(listing, config, run_dir, thumbs_mark)
    pending = _pending(run_dir, thumbs)
    done_files = len(thumbs) - sum(_files_in(thumbs, k) for k in pending)
    with reporter.stage("index", len(thumbs), "images", done_files) as advance:
        if pending:
            bag = db.from_sequence(pending, partition_size=1).map(partial(index_chunk, run_dir))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is in the rows
                runtime.compute(bag, lambda counts: advance(sum(counts)))
    if images_fingerprint(run_dir) != images_mark:
        table = _with_identical_to(read_table(run_dir / "index", IMAGE_PART), _set_keys(config))
        write_table(run_dir / "images.parquet", table.replace_schema_metadata({"fingerprint": images_mark}))


def images_fingerprint(run_dir: Path) -> str | None:
    """The fingerprint of images.parquet, or None where there is none."""
    return read_metadata(run_dir / "images.parquet").get("fingerprint")


def index_progress(run_dir: Path) -> Progress:
    """How far the index is, from the stores alone."""
    if stored_fingerprint(run_dir / "thumbs.zarr") is None:
        return Progress(0, 0, IMAGE_PART.empty_table())
    thumbs = Thumbs(run_dir / "thumbs.zarr")
    done = len(thumbs) - sum(_files_in(thumbs, k) for k in _pending(run_dir, thumbs))
    return Progress(done, len(thumbs), read_table(run_dir / "index", IMAGE_PART))


def index_chunk(run_dir: Path, number: int) -> int:
    """Decode the files of chunk `number`, write its rows and then its thumbnails. Returns how many files it had."""
    thumbs = Thumbs(run_dir / "thumbs.zarr")
    files = read_row_group(run_dir / "files.parquet", number).to_pylist()
    chunk = np.zeros((len(files), thumbs.side, thumbs.side, CHANNELS), np.uint8)
    rows = [_row(file, thumbs.side, chunk[position]) for position, file in enumerate(files)]
    write_table(_part(run_dir, number), pa.Table.from_pylist(rows, schema=IMAGE_PART))
    cells = Arrays(run_dir / "levels.zarr")
    for g in levels(thumbs.side):
        cells.write(str(g), number * thumbs.chunk, cell_sums(chunk, g))
    thumbs.write_chunk(number, chunk)
    return len(files)


def _row(file: dict[str, Any], side: int, out: Pixels) -> dict[str, Any]:
    """The row of one file; its thumbnail, if it has one, goes to `out`."""
    decoded = decode_file(file["path_raw"], file["size_bytes"], file["mtime_ns"], file["inode"], side)
    row = {name: getattr(decoded, name, None) for name in IMAGE_PART.names} | file
    row["path"] = display_path(file["path_raw"])
    if decoded.thumb is not None:
        out[:] = decoded.thumb
        row["flat"] = is_flat(decoded.thumb)
        row["thumb_hash"] = hashlib.blake2b(decoded.thumb.tobytes(), digest_size=16).digest()
    return row


def _opened_or_new(listing: Listing, config: Config, run_dir: Path, mark: str) -> Thumbs:
    path = run_dir / "thumbs.zarr"
    if stored_fingerprint(path) == mark:
        return Thumbs(path)
    discard_from(run_dir, "index")
    count = len(listing.files)
    chunk = chunk_size(count)
    (run_dir / "index").mkdir()
    write_table(run_dir / "files.parquet", listing.files, row_group_size=chunk)
    shapes = {str(g): ((count, g * g * CHANNELS), cell_dtype(config.thumb, g)) for g in levels(config.thumb)}
    Arrays.create(run_dir / "levels.zarr", shapes, chunk).sign(mark)
    return Thumbs.create(path, count, config.thumb, chunk, mark)


def _pending(run_dir: Path, thumbs: Thumbs) -> list[int]:
    done = {k for k in thumbs.done() if _part(run_dir, k).exists()}
    return [k for k in range(thumbs.chunks) if k not in done]


def _set_keys(config: Config) -> list[str]:
    """The columns whose values are one in a set of identical thumbnails.

    What pairs are asked for must not depend on the representative: so a set never spans the two sides of an A-versus-B
    run nor, where it matters, two roots or two sizes.
    """
    by_root = ["root"] if config.scope != "all" else []
    by_size = ["width", "height"] if config.same_size or config.max_aspect is not None else []
    return ["thumb_hash", "group", *by_root, *by_size]


def _with_identical_to(parts: pa.Table, keys: list[str]) -> pa.Table:
    """Fill identical_to: in large sets of images with equal thumbnails, the set's lowest id on all other members."""
    ok = parts.filter(pc.field("status") == "ok").select(["id", *keys])
    sets = ok.group_by(keys).aggregate([("id", "min"), ("id", "count")])
    large = sets.filter(pc.field("id_count") > COLLAPSE_OVER)
    representative = np.full(len(parts), -1, np.int64)
    for entry in large.to_pylist():
        same = pc.equal(ok["thumb_hash"], entry["thumb_hash"])
        for key in keys[1:]:
            if entry[key] is not None:
                same = pc.and_(same, pc.equal(ok[key], entry[key]))
        members = ok["id"].filter(same).to_numpy()
        representative[members[members != entry["id_min"]]] = entry["id_min"]
    column = pa.array(representative, mask=representative < 0)
    return parts.append_column("identical_to", column).select(IMAGES.names).cast(IMAGES)


def _part(run_dir: Path, number: int) -> Path:
    return run_dir / "index" / f"part-{number:06d}.parquet"


def _files_in(thumbs: Thumbs, chunk: int) -> int:
    return min(thumbs.chunk, len(thumbs) - chunk * thumbs.chunk)
