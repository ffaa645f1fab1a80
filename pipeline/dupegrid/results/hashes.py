"""By what pictures are equal -> the hash of each image of a run, as text."""

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import StoreError, UsageError
from dupegrid.core.text import printable
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGE_PART
from dupegrid.storage.tables import read_table


def hashes_of(images: pa.Table, run_dir: RunDir, by: str) -> pa.ChunkedArray:
    """The hash of each image of `images` (schema IMAGES), null where that was not read: string (n,).

    By 'file' that of its bytes, by 'pixels' that of its thumbnail. Raises UsageError for anything else.
    """
    if by == "file":
        return pc.if_else(pc.equal(images["status"], "ok"), images["file_hash"], None)
    if by == "pixels":
        return _of_thumbnails(images, run_dir)
    raise UsageError(f"identical by {printable(repr(by))}: by 'file' or by 'pixels'")


def _of_thumbnails(images: pa.Table, run_dir: RunDir) -> pa.ChunkedArray:
    rows = read_table(run_dir.parts, IMAGE_PART, ["id", "file_hash", "status", "thumb_hash"])
    if not all(rows[name].equals(images[name]) for name in ("id", "file_hash", "status")):
        raise StoreError(
            f"the index of {printable(str(run_dir.path))} is of another moment than its images.parquet: "
            "run 'dupegrid run' again to make it"
        )
    hashes = [None if hash_ is None else hash_.hex() for hash_ in rows["thumb_hash"].to_pylist()]
    return pa.chunked_array([pa.array(hashes, pa.string())])
