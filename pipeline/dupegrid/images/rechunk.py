"""Stores of small chunks -> the same in larger ones: a run that began small would else have many files.

The new stores are made aside, whole, and then put in place of the old ones one by one; a killed run goes on with that.
"""

import os
import uuid
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import StoreError
from dupegrid.images.chunk import create_stores, stored_looks, stored_seal, write_chunk
from dupegrid.images.facts import LISTED, facts_of, together
from dupegrid.images.levels import looks_of
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.ours import remove
from dupegrid.storage.places import ASIDE
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import FILES, IMAGE_PART
from dupegrid.storage.table_checks import check_files
from dupegrid.storage.tables import read_metadata, read_table, write_table

GROWN: Final = 4  # times: chunks that ought to be so much larger are laid out again
_STORES: Final = ("files.parquet", "index", "levels.zarr", "thumbs.zarr")


def lay_out_again(run_dir: RunDir, chunk: int) -> None:
    """Have chunks of so many images in the stores of a finished index; others stay as they are.

    Nothing is decoded again.
    """
    if isinstance(run_dir.path, BucketPath):  # where nothing can be put in place at once
        return
    aside = run_dir.path / f".{ASIDE}.{uuid.uuid4().hex}"  # swept away where it is not finished
    (aside / "index").mkdir(parents=True)
    try:
        _make(run_dir, RunDir(aside), chunk)
    except (StoreError, ValueError):  # not finished, or damaged: which is seen to chunk by chunk
        remove(aside)
        return
    os.replace(aside, run_dir.path / ASIDE)
    put_in_place(run_dir)


def put_in_place(run_dir: RunDir) -> None:
    """Put stores that were laid out again in place of the old ones, as far as they are not there yet."""
    relaid = run_dir.path / ASIDE
    if not relaid.exists():
        return
    for name in _STORES:
        if (relaid / name).exists():
            remove(run_dir.path / name)
            os.replace(relaid / name, run_dir.path / name)
    remove(relaid)
    run_dir.renew()


def files_of(rows: pa.Table) -> pa.Table:
    """The files that rows of the index (schema IMAGE_PART) were made from: schema FILES."""
    columns = {name: rows[name] for name in LISTED}
    removed = pc.equal(rows["status"], "removed")
    columns |= {
        "removed": removed,
        "left_out": pc.and_(removed, pc.is_valid(rows["error"])),
        "known_hash": pa.nulls(len(rows), pa.string()),
    }
    return pa.table({name: columns[name] for name in FILES.names}, schema=FILES)


def _make(run_dir: RunDir, aside: RunDir, chunk: int) -> None:
    """Raises StoreError or ValueError where the old stores are not whole."""
    old = run_dir.thumbs()
    rows = read_table(run_dir.parts, IMAGE_PART)
    old_facts = [read_metadata(run_dir.part(number)) for number in range(old.count)]
    if rows["id"].to_pylist() != list(range(len(old))) or not all(old_facts):
        raise ValueError("rows are missing")
    if any(facts["seal"] != stored_seal(run_dir, number) for number, facts in enumerate(old_facts)):
        raise ValueError("thumbnails are of another moment")
    thumbs = create_stores(aside, len(old), old.side, chunk, old.key, looks_of(run_dir.levels()))
    for number in range(thumbs.count):
        here = slice(number * chunk, (number + 1) * chunk)
        table = rows.slice(here.start, chunk)
        of_old = old_facts[here.start // old.chunk : -(-here.stop // old.chunk)]
        settings = {facts["settings"] for facts in of_old}
        facts = facts_of(files_of(table), table, settings.pop() if len(settings) == 1 else "several", set())
        facts |= {"decoders": together(part["decoders"] for part in of_old)}
        write_chunk(aside, number, stored_looks(run_dir, here), table, facts)
    try:
        known = check_files(run_dir.files, read_table(run_dir.files, FILES))
    except StoreError:
        known = files_of(rows)
    write_table(aside.files, known, row_group_size=chunk)
