"""Paths, or ends of paths, that a caller gives -> the images that they name. Pure."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import shown_path

_SEVERAL = -2


def ids_of(wanted: Sequence[bytes | None], paths: Sequence[bytes]) -> Ints:
    """The place in `paths` of each path that is wanted, or of the one that ends with it after a '/': int64 (k,), or -1.

    Of one that is not there, of its composed form (NFC) among theirs: macOS takes its accents apart. Raises UsageError
    where several end with one.
    """
    places = _ids_of(wanted, paths)
    again = [row for row in np.flatnonzero(places < 0).tolist() if not (wanted[row] or b"").isascii()]
    if again:
        places[again] = _ids_of([_composed(wanted[row] or b"") for row in again], [_composed(path) for path in paths])
    return places


def _composed(path: bytes) -> bytes:
    """A path whose accents are of one character with their letters, as it is typed: NFC of Unicode."""
    text = path.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")


def _ids_of(wanted: Sequence[bytes | None], paths: Sequence[bytes]) -> Ints:
    whole = {path: place for place, path in enumerate(paths)}
    by_depth: dict[int, dict[bytes, int]] = {}
    places = np.full(len(wanted), -1, np.int64)
    for row, path in enumerate(wanted):
        if path is None:
            continue
        place = whole.get(path, -1)
        if place < 0:
            end = path.removeprefix(b"./").strip(b"/")
            depth = end.count(b"/") + 1
            if depth not in by_depth:
                by_depth[depth] = _ends(paths, depth)
            place = by_depth[depth].get(end, -1)
        if place == _SEVERAL:
            name = shown_path(path)
            raise UsageError(f"several pictures of this run end with {name}: give more of their paths")
        places[row] = place
    return places


def _ends(paths: Sequence[bytes], depth: int) -> dict[bytes, int]:
    """The last names of each path, so many, and its place, or that there are several."""
    ends: dict[bytes, int] = {}
    for place, path in enumerate(paths):
        end = b"/".join(path.rsplit(b"/", depth)[-depth:]).strip(b"/")
        ends[end] = _SEVERAL if end in ends else place
    return ends
