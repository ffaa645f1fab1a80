"""What is said of the rows of a chunk beside them: what they were made from, and what may be tried again."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import DECODERS
from dupegrid.images.sandbox import may_pass

TRIED_AGAIN: Final = ("unreadable", "changed")  # may have passed, in every run; what `may_pass`, in one
BY_SETTINGS: Final = ("too_large", "timeout")  # may be well with other settings
IDENTITY: Final = ("size_bytes", "mtime_ns", "ctime_ns", "device", "inode")
_ROWS_AT_ONCE: Final = 1 << 16  # as objects of Python's
# Columns of a chunk's rows that come from the listing; and those that decoding found.
LISTED: Final = ("id", "path_raw", "root", "group", "link_kind", *IDENTITY)


def reading_of(config: Config) -> Reading:
    """How the files of a run are read."""
    return Reading(
        config.thumb,
        config.exact_decode,
        config.max_pixels,
        config.follow_symlinks,
        config.decode_again,
        normalize=config.normalize,
        colour=config.colour,
        trim=config.trim,
        looks=config.looks,
    )


def listing_digests(files: pa.Table, length: int) -> list[str]:
    """A digest for each chunk of `length` files of a listing (schema FILES): equal when nothing in it differs."""
    named = files.select([*LISTED, "removed", "left_out"])
    at_once = length * max(1, _ROWS_AT_ONCE // length)
    parts = (named.slice(start, at_once) for start in range(0, len(named), at_once))
    return [digest for part in parts for digest in _digests(part, length)]


def is_current(facts: Mapping[str, str], listing: str, config: Config, again: bool) -> bool:
    """Whether a chunk with these facts is what its listing, by its digest, and the settings would give.

    If `again`, it is not where there are files that may be read now.
    """
    if facts.get("files") != listing:
        return False
    other = facts["settings"] != settings_key(reading_of(config), config.file_timeout)
    retry = again and (
        facts["tried_again"] != "0"
        or bool(facts.get("once"))
        or (other and facts["by_settings"] != "0")
        or (config.decode_again and is_of_others(facts["decoders"]))
    )
    return not retry and int(facts["largest"]) <= config.max_pixels


def facts_of(files: pa.Table, table: pa.Table, settings: str, failed: set[int]) -> dict[str, str]:
    """What the metadata of a chunk's rows says: what they were made from, what they are, what may be tried again.

    `failed` are the places of files that failed before, and are not tried once more if they failed again.
    """
    status, error = table["status"].to_pylist(), table["error"].to_pylist()
    once = [place for place, row in enumerate(zip(status, error, strict=True)) if may_pass(*row)]
    decoded = pc.invert(pc.is_in(table["status"], pa.array([*BY_SETTINGS, "removed"])))
    pixels = pc.multiply(table["width"].cast(pa.int64()), table["height"].cast(pa.int64()))
    return {
        "files": listing_digests(files, len(files))[0],
        "rows": _digests(table, len(table))[0],
        "tried_again": str(sum(name in TRIED_AGAIN for name in status)),
        "once": " ".join(str(place) for place in once if place not in failed),
        "by_settings": str(sum(name in BY_SETTINGS for name in status)),
        "settings": settings,
        "largest": str(pc.max(pixels.filter(decoded)).as_py() or 0),
    }


def together(decoders: Iterable[str]) -> str:
    """The decoders of files of several such lists, each once."""
    return "; ".join(sorted({name for names in decoders for name in names.split("; ")} - {""}))


def is_of_others(decoders: str) -> bool:
    """Whether some of the files of a chunk were decoded by others than the decoders here."""
    return decoders not in ("", DECODERS)


def _digests(table: pa.Table, length: int) -> list[str]:
    """A digest of each `length` rows: equal when all values are."""
    digests = [hashlib.blake2b(digest_size=16) for _ in range(0, len(table), length)]
    for name in table.column_names:
        column, plain = table[name], pa.types.is_integer(table[name].type)
        null = pc.is_null(column).to_numpy() if column.null_count else None
        column = column if null is None or not plain else pc.fill_null(column, 0)
        values = column.to_numpy() if plain else column.to_pylist()
        for number, digest in enumerate(digests):
            here = slice(number * length, (number + 1) * length)
            nulls = [] if null is None else null[here].nonzero()[0].tolist()
            digest.update(f"{name} {nulls}".encode())
            digest.update(values[here].tobytes() if plain else repr(values[here]).encode(errors="surrogatepass"))
    return [digest.hexdigest() for digest in digests]


def settings_key(reading: Reading, timeout_s: float) -> str:
    return fingerprint(reading.max_pixels, timeout_s)
