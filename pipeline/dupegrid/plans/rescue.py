"""What files that go have and their keepers lack, written into sidecars beside these: an act before each such file's.

When and where a picture was taken, and its rating. No picture is written to, and no sidecar that is there.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

import pyarrow as pa

from dupegrid.images.xmp import packet_of
from dupegrid.plans.actions import Act, Stamp

_VALUES: Final = {"date": ("taken_at",), "gps": ("latitude", "longitude"), "rating": ("rating",)}
_ENDINGS: Final = tuple(b"." + bytes(letters) for letters in product(b"xX", b"mM", b"pP"))
_NAMES: Final = [name for names in _VALUES.values() for name in names]


def with_rescues(
    acts: Sequence[Act], plan: pa.Table, images: pa.Table, rating_of: Callable[[bytes], int | None]
) -> list[Act]:
    """The same acts, and after each picture that would lose something one that writes its keeper's sidecar.

    It is of the picture's unit, in which `apply` does it first, so that what is lost is written down before.
    `plan` and `images` are of schema PLAN and IMAGES; `rating_of` reads the sidecars that go along. A sidecar says what
    all that go for one keeper have: of their dates the earliest, of their ratings the highest, of places the first.
    """
    lost = dict(zip(*(plan[name].to_pylist() for name in ("path_raw", "lost_metadata")), strict=True))
    pictures = [act for act in acts if act.pair is not None and _words(lost[act.path])]
    ids = [act.pair[0] for act in pictures if act.pair is not None]
    rows = images.select(_NAMES).take(pa.array(ids, pa.int64())).to_pylist()
    beside: dict[bytes, list[int]] = defaultdict(list)
    for act in acts:
        if act.goes_with is not None and (rating := rating_of(act.path)) is not None:
            beside[act.goes_with].append(rating)
    of_keeper: dict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for act, row in zip(pictures, rows, strict=True):
        row["rating"] = max((value for value in (row["rating"], *beside[act.path]) if value is not None), default=None)
        wanted = {name for word in _words(lost[act.path]) for name in _VALUES[word]}
        of_keeper[act.keeper].append({name: row[name] if name in wanted else None for name in _NAMES})
    merged = {keeper: _merged(found) for keeper, found in of_keeper.items()}
    packets = {keeper: packet_of(values) for keeper, values in merged.items() if {*values.values()} != {None}}
    losing, rescued = {act.path for act in pictures}, []
    for act in acts:
        rescued.append(act)
        if act.path in losing and act.keeper in packets:
            rescued.append(_writes(act, packets[act.keeper]))
    return rescued


def names_of_sidecars(picture: bytes) -> tuple[bytes, ...]:
    """What an XMP sidecar of a picture may be called; the first is what ours is."""
    return tuple(base + ending for base in (picture, os.path.splitext(picture)[0]) for ending in _ENDINGS)


def _words(lost: str | None) -> list[str]:
    return [word for word in (lost or "").split(", ") if word in _VALUES]


def _merged(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    dates, ratings = ([row[name] for row in found if row[name] is not None] for name in ("taken_at", "rating"))
    places = [(row["latitude"], row["longitude"]) for row in found if row["latitude"] is not None]
    latitude, longitude = places[0] if places else (None, None)
    return {
        "taken_at": min(dates, default=None),
        "latitude": latitude,
        "longitude": longitude,
        "rating": max(ratings, default=None),
    }


def _writes(act: Act, packet: bytes) -> Act:
    digest = hashlib.blake2b(packet, digest_size=16).hexdigest()
    return replace(
        act,
        action="xmp",
        path=names_of_sidecars(act.keeper)[0],
        root=act.keeper_root,
        was=Stamp(len(packet), 0, 0, 0, 0, digest),
        pair=None,
        goes_with=act.path,
        to=None,
        to_root=b"",
        packet=packet,
    )
