"""By what pictures are equal -> the hash of each image of a run, as text."""

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import StoreError, UsageError
from dupegrid.core.text import printable, shown
from dupegrid.results.export.tables import hexadecimal
from dupegrid.results.run_like import RunLike
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import HASHES, IMAGE_PART
from dupegrid.storage.tables import read_metadata, read_table


def hashes_of(run: RunLike, by: str) -> pa.ChunkedArray:
    """The hash of each image of a run, null where that was not read: string (n,).

    By 'file' that of its bytes, by 'pixels' that of its thumbnail, by 'hash' that which the run was asked for. Raises
    UsageError for anything else.
    """
    images = run.images
    if by == "file":
        return pc.if_else(pc.equal(images["status"], "ok"), images["file_hash"], None)
    if by == "pixels":
        return _of_thumbnails(images, run.run_dir)
    if by == "hash":
        return read_hashes(run)["hash"]
    raise UsageError(f"identical by {printable(repr(by))}: by 'file', 'pixels' or 'hash'")


def read_hashes(run: RunLike) -> pa.Table:
    """hashes.parquet (schema HASHES). UsageError where the run has no hash, StoreError where it is of others."""
    if run.config.hash is None:
        raise UsageError("this run has no hash: run again with --hash shift:4, or another one")
    path = run.run_dir.hashes
    made_from = read_metadata(path)
    if (made_from.get("images"), made_from.get("hash")) != (run.run_dir.images_key(), run.config.hash):
        raise StoreError(f"{shown(path)} is not of these pictures: run 'dupegrid run' again to make it")
    return read_table(path, HASHES)


def _of_thumbnails(images: pa.Table, run_dir: RunDir) -> pa.ChunkedArray:
    rows = read_table(run_dir.parts, IMAGE_PART, ["id", "file_hash", "status", "thumb_hash"])
    if not all(rows[name].equals(images[name]) for name in ("id", "file_hash", "status")):
        raise StoreError(
            f"the index of {shown(run_dir.path)} is of another moment than its images.parquet: "
            "run 'dupegrid run' again to make it"
        )
    return hexadecimal(rows["thumb_hash"])
