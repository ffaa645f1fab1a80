"""The index stage: files -> thumbs.zarr and images.parquet. One task of a dask bag = one chunk, written whole.

A chunk's rows are written before its thumbnails, so a chunk of thumbs.zarr that exists has its rows beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.core.text import counted, printable, shown
from dupegrid.images.archives import forget_archives
from dupegrid.images.borders import BORDERS
from dupegrid.images.chunk import create_levels, create_stores, index_chunk, stored_seal
from dupegrid.images.discover import Listing
from dupegrid.images.facts import is_current, listing_digests, reading_of, together
from dupegrid.images.found import ListedFiles
from dupegrid.images.hashing import hashes_now
from dupegrid.images.levels import COSINES, level_shapes
from dupegrid.images.merge import Merged, Read, whole_chunks
from dupegrid.images.rechunk import GROWN, files_of, lay_out_again, put_in_place
from dupegrid.images.recipe import DECODERS, RECIPE
from dupegrid.images.representatives import set_keys, with_representatives
from dupegrid.images.sources import Sources
from dupegrid.storage.arrays import Thumbs, chunk_size
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.hold import current_hold
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import FILES, IMAGE_PART, IMAGES
from dupegrid.storage.table_checks import check_files
from dupegrid.storage.tables import read_metadata, read_parts, read_pieces, read_table, row_count, write_tables
from dupegrid.storage.unfinished import check_finished

_SHOWN: Final = ["path", "status", "error"]  # by who asks how far it is
_ROWS_AT_ONCE: Final = 1 << 17  # of images.parquet in memory, some 50 MB: a row group of it
COLLAPSE_OVER: Final = 64  # sets of identical thumbnails larger than this are listed against their lowest id alone


@dataclass(frozen=True)
class Progress:
    """How far the index of a run directory is; `rows` holds path, status and error of the files done so far."""

    done: int
    total: int
    rows: pa.Table


def index(listing: Listing, config: Config, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> str:
    """Make thumbs.zarr and images.parquet, going on where an earlier run stopped; files it knows keep their ids.

    The listing is without its files afterwards. Returns the key of images.parquet: equal when all rows are.
    """
    for what, folders in (("trash folder", listing.trashes), ("preview folder", listing.programs)):
        if folders:
            left = f"{counted(len(folders), what)}, {printable(folders[0])}{' and others' if folders[1:] else ''}"
            reporter.say(f"index: left out {left}: name one as a PATH to look into it")
    thumbs = _prepared(listing, config, run_dir, reporter)
    _mend(run_dir, reporter)
    listing.forget_files()
    pending = _pending(run_dir, _listed(run_dir), thumbs, config)
    done_files = len(thumbs) - sum(thumbs.images_in(k) for k in pending)
    if pending and run_dir.images.is_file():
        run_dir.images.replace(run_dir.images_before)
    run_dir.renew("thumbs", "levels")
    with reporter.stage("index", len(thumbs), "images", done_files) as advance:
        sources, reading = Sources.of(config), reading_of(config)
        task = partial(index_chunk, run_dir, current_hold().token, sources, reading, config.file_timeout)
        aside = runtime.each(task, pending, advance)
    missing = [(f"chunk {it.item}", thumbs.images_in(it.item), it.problem) for it in aside]
    check_finished(run_dir, "index", "pictures", missing)
    forget_archives()
    parts = [read_metadata(run_dir.part(k)) for k in range(thumbs.count)]
    _say_of_other_decoders(parts, reporter)
    keys = [_rows_key(run_dir, k, facts) for k, facts in enumerate(parts)]
    key = fingerprint(_thumbs_key(config), COLLAPSE_OVER, set_keys(config), keys)
    facts = {"fingerprint": key, "seals": run_dir.seals()}
    if read_metadata(run_dir.images) != facts or row_count(run_dir.images) != len(thumbs):
        tables = with_representatives(partial(_rows, run_dir, thumbs), set_keys(config), COLLAPSE_OVER)
        write_tables(run_dir.images, IMAGES, tables, facts)
        run_dir.images_before.unlink(missing_ok=True)
    run_dir.renew("thumbs", "levels")
    return key


def _rows(run_dir: RunDir, thumbs: Thumbs, columns: list[str] | None) -> Iterator[pa.Table]:
    """The rows of all chunks, some chunks at a time."""
    at_once = max(1, _ROWS_AT_ONCE // thumbs.chunk)
    for start in range(0, thumbs.count, at_once):
        numbers = range(start, min(start + at_once, thumbs.count))
        yield read_parts([run_dir.part(number) for number in numbers], IMAGE_PART, columns)


def _say_of_other_decoders(parts: Sequence[Mapping[str, str]], reporter: Reporter) -> None:
    others = [name for name in together(facts.get("decoders", "") for facts in parts).split("; ") if name != DECODERS]
    if any(others):
        reporter.say(
            f"index: some thumbnails were made by {' and by '.join(others)}, not by {DECODERS}, and are kept: "
            "--decode-again makes them anew"
        )


def index_progress(run_dir: RunDir, config: Config) -> Progress:
    """How far the index is, from the stores alone."""
    if "key" not in stored_facts(run_dir.thumbs_zarr):
        return Progress(0, 0, IMAGE_PART.empty_table().select(_SHOWN))
    thumbs = run_dir.thumbs()
    pending = _pending(run_dir, read_pieces(run_dir.files, FILES), thumbs, config, again=False)
    done = len(thumbs) - sum(thumbs.images_in(k) for k in pending)
    return Progress(done, len(thumbs), read_table(run_dir.parts, IMAGE_PART, _SHOWN))


def _thumbs_key(config: Config) -> str:
    """The key of thumbs.zarr: equal when the same file has the same thumbnail, and rows the same columns."""
    made_by = config.thumb, config.exact_decode, config.normalize, config.colour, config.trim and BORDERS, config.looks
    return fingerprint(made_by, RECIPE, IMAGE_PART.names)


def _prepared(listing: Listing, config: Config, run_dir: RunDir, reporter: Reporter) -> Thumbs:
    """files.parquet and the stores for a listing: those of an earlier run with what is new, or new ones."""
    put_in_place(run_dir)
    path, key = run_dir.thumbs_zarr, _thumbs_key(config)
    made_up = stored_facts(path).get("key", key) == key and not _is_of(run_dir, key, config.thumb)
    if made_up and stored_facts(run_dir.levels_zarr).get("key") == key and path.exists():
        levels = run_dir.levels()
        Thumbs.described(path, len(levels), config.thumb, levels.chunk(COSINES), key)
        run_dir.renew()
    chunk = _chunk_for(listing.files)
    if _is_of(run_dir, key, config.thumb) and chunk >= GROWN * run_dir.thumbs().chunk:
        lay_out_again(run_dir, chunk)
    read = partial(hashes_now, config, reporter)
    files = _merged(listing, run_dir, read) if _is_of(run_dir, key, config.thumb) else None
    if files is None:
        return _created(listing, config, run_dir, key)
    thumbs = run_dir.thumbs()
    if files.differs:
        _say_of_emptied(files, config, reporter)
        write_tables(run_dir.files, FILES, files.tables(thumbs.chunk), None, thumbs.chunk)
        run_dir.renew()
    try:
        levels = run_dir.levels()
        usable = levels.fact("key") == key and levels.chunk(COSINES) == thumbs.chunk
        usable = usable and len(thumbs) <= len(levels) <= len(files)
        levels.check(level_shapes(0, config.thumb, config.looks))
    except (StoreError, KeyError):
        usable = False
    if not usable:  # damaged, or of another moment: reckoned again, from the thumbnails
        create_levels(run_dir, len(files), thumbs.side, thumbs.chunk, key, config.looks)
    if len(files) > len(run_dir.levels()):
        run_dir.levels().grow(len(files))
    if len(files) > len(thumbs):
        thumbs.grow(len(files))
    return thumbs


def _mend(run_dir: RunDir, reporter: Reporter) -> None:
    """Have chunks made again that whoever read them found damaged: no run reads all of them."""
    levels = run_dir.levels()
    for array in (run_dir.thumbs(), *(levels[name] for name in levels.names)):
        for error in array.mend():
            reporter.say(f"{shown(error.file)} is damaged ({error.problem}): making it again")


def _is_of(run_dir: RunDir, key: str, side: int) -> bool:
    """Whether thumbs.zarr is there, of this key and side."""
    try:
        return (run_dir.thumbs().key, run_dir.thumbs().side) == (key, side)
    except (StoreError, KeyError):
        return False


def _merged(listing: Listing, run_dir: RunDir, read: Read) -> Merged | None:
    """What is known of files with those of a listing; None if nothing is known.

    It is what files.parquet says, or where that is damaged what the rows say of the files.
    """
    known, hashes = partial(_listed, run_dir), partial(_hashes, run_dir, run_dir.thumbs().chunk)
    merged = partial(Merged, known, listing.files, listing.unreadable_folders, hashes, read)
    try:
        return merged()
    except StoreError:
        return merged() if _listed_anew(run_dir) else None


def _say_of_emptied(files: Merged, config: Config, reporter: Reporter) -> None:
    """A disk that is not connected leaves an empty folder where it was."""
    for root, count in files.emptied().items():
        if config.roots[root] != config.files_from:
            place, gone = printable(config.roots[root]), counted(count, "file")
            reporter.say(f"index: nothing is left in {place}, {gone} before: is its disk connected?")


def _created(listing: Listing, config: Config, run_dir: RunDir, key: str) -> Thumbs:
    run_dir.discard_from("index")
    count, chunk = len(listing.files), _chunk_for(listing.files)
    run_dir.parts.mkdir(exist_ok=True)
    write_tables(run_dir.files, FILES, listing.files.tables(chunk), None, chunk)
    return create_stores(run_dir, count, config.thumb, chunk, key, config.looks)


def _chunk_for(files: ListedFiles) -> int:
    return chunk_size(len(files), int(np.sum(files.columns["size_bytes"], dtype=np.float64)))


def _listed(run_dir: RunDir) -> Iterator[pa.Table]:
    """What files.parquet says, a piece at a time; one piece alone is kept, as it is asked for three times."""
    if row_count(run_dir.files) > _ROWS_AT_ONCE:
        yield from (check_files(run_dir.files, piece) for piece in read_pieces(run_dir.files, FILES))
    else:
        yield run_dir.once("files", lambda: check_files(run_dir.files, read_table(run_dir.files, FILES)))


def _listed_anew(run_dir: RunDir) -> bool:
    """Write files.parquet by what the rows of the index say of the files; False if some lack."""
    try:
        rows = read_table(run_dir.parts, IMAGE_PART)
    except (StoreError, FileNotFoundError):
        return False
    if not np.array_equal(rows["id"].to_numpy(), np.arange(len(run_dir.thumbs()))):
        return False
    write_tables(run_dir.files, FILES, [files_of(rows)], None, run_dir.thumbs().chunk)
    return True


def _hashes(run_dir: RunDir, chunk: int, ids: Sequence[int]) -> list[str | None]:
    """The file hashes of images in an earlier run, as far as it came."""
    found: dict[int, str | None] = {}
    for number in sorted({id // chunk for id in ids}):
        try:
            part = read_table(run_dir.part(number), IMAGE_PART, ["id", "file_hash"])
        except StoreError:
            continue
        found |= dict(zip(part["id"].to_pylist(), part["file_hash"].to_pylist(), strict=True))
    return [found.get(id) for id in ids]


def _pending(
    run_dir: RunDir, listed: Iterable[pa.Table], thumbs: Thumbs, config: Config, again: bool = True
) -> list[int]:
    """The chunks to be made: not there, of other files, or, if `again`, with files that may be read now."""
    count = row_count(run_dir.files)
    if len(thumbs) > count:
        raise DamagedError(thumbs.path / "zarr.json", f"it is of {len(thumbs):,} images, and {count:,} are listed")
    whole = {number[0] for number in thumbs.done()}
    if not whole:
        return list(range(thumbs.count))
    listings: list[str] = []
    for files in whole_chunks(listed, thumbs.chunk):
        if again:
            whole -= set((len(listings) + _unproven(files) // thumbs.chunk).tolist())
        listings += listing_digests(files, thumbs.chunk)

    def is_done(number: int) -> bool:
        facts = read_metadata(run_dir.part(number)) if number in whole else {}
        current = is_current(facts, listings[number], config, again)
        return current and facts.get("seal") == stored_seal(run_dir, number)

    return [number for number in range(thumbs.count) if not is_done(number)]


def _unproven(files: pa.Table) -> Ints:
    """The ids of files that may have changed without a trace in the listing, and that no hash proves."""
    there = pc.and_(pc.invert(files["removed"]), pc.is_null(files["known_hash"]))
    return np.flatnonzero(pc.and_(there, pc.equal(files["ctime_ns"], 0)).to_numpy())


def _rows_key(run_dir: RunDir, number: int, facts: Mapping[str, str]) -> str:
    """Equal for equal rows of a chunk, of which these are the facts. DamagedError where they could not be read."""
    if "rows" not in facts:
        raise DamagedError(run_dir.part(number), "what it says of its rows cannot be read")
    return facts["rows"]
