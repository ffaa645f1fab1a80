"""A hash of each thumbnail -> hashes.parquet.

Built in is that of fast-diff-py, `shift:N`: each value of the thumbnail shifted by N bits, to the right, or to the left
where N is negative, of the four turns; what has one of them in common with another picture has all four.
"""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHOICES, Pixels, turned
from dupegrid.core.errors import ConfigError
from dupegrid.core.functions import code_of, error_line, load_function
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.storage.run_dir import THUMBS, RunDir
from dupegrid.storage.schemas import HASHES, IMAGES
from dupegrid.storage.tables import is_whole, read_metadata, row_count, write_table
from dupegrid.storage.unfinished import check_finished

_SHIFT: Final = "shift:"
_KNOWN: Final = "use shift:4 (-7 to 7) or package.module:function"
_DIGEST_BYTES: Final = 16

Hash = Callable[[Pixels], Any]


def is_own_hash(name: str | None) -> bool:
    """Whether a hash is one of dupegrid's own, or none: no other code is imported for it."""
    return name is None or re.fullmatch(rf"{_SHIFT}-?\d", name) is not None


def hash_code(name: str | None) -> str:
    """What the code of a hash is known by, as `metric_code` has it. Imports the module."""
    return "" if name is None or is_own_hash(name) else code_of(name, load_function(name, "hash", _KNOWN))


def hash_facts(run_dir: RunDir, name: str, code: str) -> dict[str, str]:
    """What hashes.parquet is made from, as its metadata says."""
    return {"images": run_dir.images_key(), "hash": name, "code": code}


def make_hashes(name: str, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> None:
    """Make hashes.parquet (schema HASHES) of the thumbnails, unless it is there.

    ConfigError where the hash is no function, fails, or returns anything but str, bytes or int.
    """
    facts = hash_facts(run_dir, name, hash_code(name))
    if read_metadata(run_dir.hashes) == facts and is_whole(run_dir.hashes, HASHES, row_count(run_dir.images)):
        return
    run_dir.check_seals(THUMBS)
    count, thumbs = row_count(run_dir.images), run_dir.thumbs()
    chunks: dict[int, pa.Table] = {}
    with reporter.stage("hash", count, "images") as advance:

        def done(found: tuple[int, pa.Table]) -> None:
            chunks[found[0]] = found[1]
            advance(len(found[1]))

        aside = runtime.each(partial(_hash_chunk, run_dir, name), list(range(-(-count // thumbs.chunk))), done)
    missing = [(f"chunk {it.item}", thumbs.images_in(it.item), it.problem) for it in aside]
    check_finished(run_dir, "hash", "pictures", missing)
    table = pa.concat_tables([HASHES.empty_table(), *(chunks[number] for number in sorted(chunks))])
    write_table(run_dir.hashes, table, facts)
    run_dir.renew()


def shifted_hashes(thumbs: Pixels, amount: int) -> dict[str, list[str]]:
    """By turn, of each thumbnail, uint8 (n, S, S, 3): the digest of its values, shifted by `amount` bits and turned."""
    bits = np.uint8(abs(amount))
    values = thumbs >> bits if amount >= 0 else thumbs << bits
    found = {}
    for turn in CHOICES["rotations"]:
        rows = np.ascontiguousarray(turned(values, turn))
        found[turn] = [hashlib.blake2b(row, digest_size=_DIGEST_BYTES).hexdigest() for row in rows]
    return found


def _hash_chunk(run_dir: RunDir, name: str, number: int) -> tuple[int, pa.Table]:
    """The number of a chunk of thumbnails, and its rows of hashes.parquet."""
    thumbs = run_dir.thumbs()
    status = run_dir.once("status", lambda: run_dir.image_columns(IMAGES, ["status"])["status"])
    ids = np.arange(number * thumbs.chunk, min(len(status), (number + 1) * thumbs.chunk))
    ok = pc.equal(status.take(pa.array(ids)), "ok").to_numpy()
    pixels = thumbs.rows(slice(int(ids[0]), int(ids[-1]) + 1))[ok]
    if is_own_hash(name):
        turns = shifted_hashes(pixels, int(name.removeprefix(_SHIFT)))
        least = [min(four) for four in zip(*turns.values(), strict=True)]
        columns = {"hash": least, **{f"hash_{turn}": found for turn, found in turns.items()}}
    else:
        function = load_function(name, "hash", _KNOWN)
        columns = {"hash": [_text(function, name, one) for one in pixels]}
    place = pa.array(np.cumsum(ok) - 1, mask=~ok)
    rows = {key: pa.array(values, pa.string()).take(place) for key, values in columns.items()}
    missing = pa.nulls(len(ids), pa.string())
    return number, pa.table({"id": ids, **{key: rows.get(key, missing) for key in HASHES.names[1:]}}, schema=HASHES)


def _text(function: Hash, name: str, thumb: Pixels) -> str:
    try:
        value = function(thumb)
        text = value.hex() if isinstance(value, bytes) else str(value)
        text.encode()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"hash {name!r} failed ({error_line(error)}): it takes uint8 (S, S, 3)") from None
    if not isinstance(value, str | bytes | int | np.integer):
        raise ConfigError(f"hash {name!r} returned a {type(value).__name__}: it has to return str, bytes or int")
    return text
