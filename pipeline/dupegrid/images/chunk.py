"""One chunk of the index: its files decoded, its rows written, then its thumbnails, whose chunk is the mark.

What the rows were made from is in their metadata (their facts): a chunk whose files have changed since is made again,
but for the files in it that have not.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHANNELS, Pixels
from dupegrid.core.errors import StoreError
from dupegrid.core.text import display_path
from dupegrid.core.values import WHOLE
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.decoder import File
from dupegrid.images.facts import (
    BY_SETTINGS,
    IDENTITY,
    LISTED,
    TRIED_AGAIN,
    facts_of,
    is_of_others,
    settings_key,
    together,
)
from dupegrid.images.fetching import fetched
from dupegrid.images.levels import CROPS, level_shapes, looks_of, of_look, stored_levels
from dupegrid.images.recipe import DECODERS
from dupegrid.images.sandbox import decode_files, may_pass
from dupegrid.images.sources import Sources
from dupegrid.storage.arrays import Arrays, Thumbs
from dupegrid.storage.hold import check_hold
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGE_PART, IMAGES
from dupegrid.storage.tables import read_metadata, read_table, write_table

_LOOKS_EVERY_S: Final = 0.5  # whether the run directory is still its own
_LEFT_OUT: Final = "left out by --extensions, --ignore-name, --ignore-path or for want of --follow-symlinks"
_FOUND: Final = tuple(name for name in IMAGE_PART.names if name not in (*LISTED, "path"))


def create_stores(
    run_dir: RunDir, images: int, side: int, chunk: int, key: str, looks: Sequence[str] = (WHOLE,)
) -> Thumbs:
    """Empty stores for the thumbnails of so many images, which are returned, and for what is reckoned from them."""
    create_levels(run_dir, images, side, chunk, key, looks)
    Thumbs.create(run_dir.thumbs_zarr, images, side, chunk, key)
    run_dir.renew()
    return run_dir.thumbs()


def create_levels(run_dir: RunDir, images: int, side: int, chunk: int, key: str, looks: Sequence[str]) -> None:
    """The second of these: cosines, checksums of the rows that are read alone, the thumbnails of further looks."""
    Arrays.create(run_dir.levels_zarr, level_shapes(images, side, looks), chunk).sign(key)
    run_dir.renew()


def index_chunk(run_dir: RunDir, token: str, sources: Sources, reading: Reading, timeout_s: float, number: int) -> int:
    """Decode the files of chunk `number`, write its rows and then its thumbnails. Returns how many files it has.

    SupersededError as soon as another run than the one with this token has the run directory.
    """
    with run_dir.writing_for(token):
        return _index_chunk(run_dir, sources, reading, timeout_s, number)


def _index_chunk(run_dir: RunDir, sources: Sources, reading: Reading, timeout_s: float, number: int) -> int:
    files = run_dir.listing(number)
    settings = settings_key(reading, timeout_s)
    before = read_metadata(run_dir.part(number))
    known, chunk, failed = _known(run_dir, number, files, reading, settings, before)
    missing = [place for place, decoded in enumerate(known) if decoded is None]
    listed = files.select(File._fields).take(pa.array(missing, pa.int64())).to_pydict()
    wanted = [File(*fields) for fields in zip(*listed.values(), strict=True)]
    if before:  # else it is all zeros
        chunk[:, missing] = 0
    for at, decoded in decoded_of(wanted, sources, reading, timeout_s):
        known[missing[at]] = decoded
        if decoded.thumb is not None:
            chunk[0, missing[at]] = decoded.thumb
        if decoded.crops is not None:
            chunk[1:, missing[at]] = decoded.crops
    table = _rows(files, [decoded for decoded in known if decoded is not None])
    facts = facts_of(files, table, settings, failed)
    decoders = before.get("decoders", "")
    kept = len(missing) < len(files) and not (reading.decode_again and is_of_others(decoders))
    facts["decoders"] = together([decoders if kept else "", DECODERS if missing else ""])
    _write(run_dir, number, table, chunk, facts, before)
    return len(files)


def decoded_of(
    files: Sequence[File], sources: Sources, reading: Reading, timeout_s: float
) -> Generator[tuple[int, Decoded], None, None]:
    """What becomes of each file, by its place, in any order; those of `sources` are fetched.

    Looks now and then whether the run still has its run directory, as `check_hold` does.
    """
    looked_s = time.monotonic()
    with closing(fetched(files, sources)) as batches:
        for batch in batches:
            yield from batch.failed.items()
            for at, decoded in decode_files(batch.files, reading, timeout_s):
                if time.monotonic() - looked_s > _LOOKS_EVERY_S:
                    check_hold()
                    looked_s = time.monotonic()
                yield batch.places[at], decoded


def write_chunk(
    run_dir: RunDir, number: int, chunk: Pixels, rows: pa.Table | None = None, facts: Mapping[str, str] | None = None
) -> None:
    """Write a chunk of thumbnails, (looks, n, S, S, 3): what is reckoned from them, their rows, the mark."""
    thumbs, levels = run_dir.thumbs(), run_dir.levels()
    thumbs.delete(number)
    for look, of_it in zip(looks_of(levels), chunk, strict=True):
        for name, values in stored_levels(of_it, look).items():
            levels.write(name, number * thumbs.chunk, values)
    encoded = thumbs.encoded(chunk[0])
    if rows is not None:
        seal = _seal(encoded.checksum, levels, number)
        write_table(run_dir.part(number), rows, {**(facts or {}), "seal": seal})
    thumbs.put((number,), encoded)


def stored_seal(run_dir: RunDir, number: int) -> str:
    """The seal of a chunk as it is on disk, by the checksums that its files end with."""
    return _seal(run_dir.thumbs().checksum(number), run_dir.levels(), number)


def stored_looks(run_dir: RunDir, rows: slice) -> Pixels:
    """The thumbnails of consecutive images by all looks: uint8 (looks, k, S, S, 3)."""
    levels = run_dir.levels()
    crops = [levels.rows(of_look(CROPS, look), rows) for look in looks_of(levels)[1:]]
    return np.stack([run_dir.thumbs().rows(rows), *crops])


def _seal(thumbs: str, levels: Arrays, number: int) -> str:
    return f"{thumbs} {levels.checksum(number)}"


def _known(
    run_dir: RunDir, number: int, files: pa.Table, reading: Reading, settings: str, facts: Mapping[str, str]
) -> tuple[list[Decoded | None], Pixels, set[int]]:
    """What an earlier run found of the files of a chunk, None for those to be decoded; their thumbnails by all looks.

    And the places of those that failed then, but may pass. The `facts` are those of the rows that are there.
    """
    thumbs = run_dir.thumbs()
    chunk = np.zeros((len(reading.looks), len(files), thumbs.side, thumbs.side, CHANNELS), np.uint8)
    before: list[dict[str, Any]] = []
    thumbs_are_there = False
    part = run_dir.part(number)
    if facts or part.is_file():
        try:
            before = read_table(part, IMAGE_PART).to_pylist()
            # A whole chunk may be another's: of a run directory that was copied while it changed, or restored in part.
            seal = facts.get("seal", "")
            thumbs_are_there = seal.split(" ")[0] == thumbs.checksum(number)
            if len(chunk) > 1:
                thumbs_are_there = seal == stored_seal(run_dir, number)
            if thumbs_are_there:
                here = slice(number * thumbs.chunk, number * thumbs.chunk + len(before))
                chunk[:, : len(before)] = stored_looks(run_dir, here)
        except StoreError:  # damaged
            thumbs_are_there = False
    elif not pc.any(files["removed"]).as_py():
        return [None] * len(files), chunk, set()
    once, other = set(map(int, facts.get("once", "").split())), facts.get("settings") != settings
    before = before or _listed_alike(run_dir, files)
    unknown: list[dict[str, Any]] = [{}] * (len(files) - len(before))
    known: list[Decoded | None] = []
    failed = set()
    to_decode = not thumbs_are_there or (reading.decode_again and is_of_others(facts.get("decoders", "")))
    for place, (file, old) in enumerate(zip(files.to_pylist(), before + unknown, strict=True)):
        if old and may_pass(old["status"], old["error"]) and _is_same(file, old):
            failed.add(place)
        if file["removed"]:
            known.append(_removed(old, file["left_out"]))
        elif to_decode or place in once or (other and old.get("status") in BY_SETTINGS):
            known.append(None)
        else:
            known.append(_kept(file, old, reading))
    chunk[:, files["removed"].to_numpy(zero_copy_only=False)] = 0
    return known, chunk, failed


def _listed_alike(run_dir: RunDir, files: pa.Table) -> list[dict[str, Any]]:
    """What images.parquet of an earlier run says of these files; nothing of those that were others."""
    try:
        images = read_table(run_dir.images_before, IMAGES)
    except StoreError:
        return []
    rows = images.slice(files["id"][0].as_py(), len(files)).to_pylist()
    listed = files.slice(0, len(rows)).to_pylist()
    same = (
        all(file[name] == row[name] for name in ("path_raw", *IDENTITY)) for file, row in zip(listed, rows, strict=True)
    )
    return [row if alike else {} for row, alike in zip(rows, same, strict=True)]


def _removed(old: dict[str, Any], left_out: bool) -> Decoded:
    """What is kept of a file that is gone, or not looked at any more."""
    found = {name: old[name] for name in _FOUND if name in old}
    error = _LEFT_OUT if left_out else None
    gone = {"status": "removed", "error": error, "flat": None, "transparent": None, "thumb_hash": None}
    return Decoded(**found | gone)


def _kept(file: dict[str, Any], old: dict[str, Any], reading: Reading) -> Decoded | None:
    """What was found of a file, if it is the same and would be read alike; else None."""
    if not old or old["status"] in (*TRIED_AGAIN, "removed") or not _is_same(file, old):
        return None
    if (old["width"] or 0) * (old["height"] or 0) > reading.max_pixels:
        return None
    return Decoded(**{name: old[name] for name in _FOUND})


def _is_same(file: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether a file is the one that was found, maybe under another name."""
    by_hash = file["known_hash"] is not None and file["known_hash"] == old["file_hash"]
    return by_hash or (file["ctime_ns"] != 0 and all(file[name] == old[name] for name in ("path_raw", *IDENTITY)))


def _rows(files: pa.Table, found: Sequence[Decoded]) -> pa.Table:
    columns = {name: files[name] for name in LISTED}
    columns["path"] = pa.array([display_path(path) for path in files["path_raw"].to_pylist()])
    of_all = dict(zip(Decoded._fields, zip(*found, strict=True), strict=True))
    columns |= {name: pa.array(of_all[name], IMAGE_PART.field(name).type) for name in _FOUND}
    return pa.table({name: columns[name] for name in IMAGE_PART.names}, schema=IMAGE_PART)


def _write(
    run_dir: RunDir,
    number: int,
    table: pa.Table,
    chunk: Pixels,
    facts: dict[str, str],
    before: Mapping[str, str],
) -> None:
    thumbs = run_dir.thumbs()
    kept = before.get("rows") == facts["rows"] and before.get("seal") == stored_seal(run_dir, number)
    if kept and thumbs.checksum(number) == thumbs.encoded(chunk[0]).checksum:
        facts = {**facts, "seal": before["seal"]}
        if before != facts:  # nothing came of what was tried again
            write_table(run_dir.part(number), table, facts)
        return
    write_chunk(run_dir, number, chunk, table, facts)
