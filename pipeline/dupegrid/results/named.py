"""Paths, or ends of paths, that a caller gives -> the images that they name."""

import os
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable, shown_path
from dupegrid.core.values import StrPath, located, place_of

_SEVERAL = -2


def id_of(image: int | StrPath, images: pa.Table) -> int:
    """The id of an image by its id, its path, or the end of one. UsageError where there is none, or are several."""
    if str(image).isdecimal() and len(str(image)) < 19 and int(str(image)) < len(images):
        return int(str(image))
    paths, end = images["path_raw"], b"/" + os.fsencode(image if isinstance(image, bytes) else str(image))
    whole = os.fsencode(place_of("the image", end[1:], find=located))
    for wanted in (whole, end):
        exact = pc.index(paths, wanted).as_py()
        found = [exact] if exact >= 0 else np.flatnonzero(pc.ends_with(paths, wanted).to_numpy()).tolist()
        if len(found) == 1:
            return int(found[0])
    if not found and not end.isascii() and (place := int(ids_of([end[1:]], paths.to_pylist())[0])) >= 0:
        return place
    if str(image).isdecimal() and not found:
        raise UsageError(f"no image {image}: this run has {len(images)}, counted from 0")
    some = [printable(images["path"][k].as_py()) for k in found[:3]]
    known = f"{len(found):,} images end" if found else "no image ends"
    such = f", such as {' and '.join(some)}" if found else ""
    raise UsageError(f"{known} with {printable(str(image))}{such}: give an id from images.parquet or a whole path")


def ids_of(wanted: Sequence[bytes | None], paths: Sequence[bytes]) -> Ints:
    """The place in `paths` of each path that is wanted, or of the one that ends with it after a '/': int64 (k,), or -1.

    Of one that is not there, of its composed form (NFC) among theirs: macOS takes its accents apart. Raises UsageError
    where several end with one.
    """
    places = _ids_of(wanted, paths)
    again = [row for row in np.flatnonzero(places < 0).tolist() if not (wanted[row] or b"").isascii()]
    if again:
        places[again] = _ids_of([nfc(wanted[row] or b"") for row in again], [nfc(path) for path in paths])
    return places


def nfc(path: bytes) -> bytes:
    """The path whose accents are of one character with their letters, as it is typed: NFC of Unicode."""
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
