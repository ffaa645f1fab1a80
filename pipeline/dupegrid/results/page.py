"""The tables of a run -> what its page is drawn from: columns of clusters and pictures, as JSON for its script."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.text import printable, shown_path
from dupegrid.core.values import BUCKETS, WEB
from dupegrid.pairs.batches import Matches
from dupegrid.results.through import Joins, joins, rows_of_pairs
from dupegrid.results.top import freed_of
from dupegrid.storage.words import REASONS, RULES

ROLES: Final = ("keep", "bridge", "duplicate")  # in this order on a card, so that bridges are never below a crowd
MAX_PICTURES: Final = 1_000_000  # a page of more would take a browser some 100 MB of JSON, and minutes
RELATIONS: Final = {
    "same_bytes": "same bytes",
    "same_pixels": "same pixels",
    "turned": "turned",
    "resized": "resized",
    "recompressed": "recompressed",
    "edited": "edited",
    "unknown": "could not be looked at",
}
PER_BLOCK: Final = 256  # pictures whose thumbnails are one element of a page, which is looked into when one is drawn
_ADDRESSES: Final = tuple(f"{scheme}://".encode() for scheme in (*WEB, *BUCKETS))  # and no other: none runs a script
_PICTURE_NAME: Final = r"\.(jpe?g|png|gif|webp|tiff?|bmp|heic|heif|avif|jp2)$"


@dataclass(frozen=True)
class Found:
    """What a run found, and a page is drawn from."""

    images: pa.Table  # schema IMAGES
    clusters: pa.Table  # schema CLUSTERS
    matches: pa.Table | Matches  # at least the columns a, b, mse, orientation and score of MATCHES
    relations: pa.Table | None  # columns a, b and relation, one of RELATIONS; None where nobody has looked
    threshold: float
    files_here: bool = True  # whether the pictures are where the page is made; where not, none is asked for


@dataclass(frozen=True)
class Page:
    """What a page holds: its data as it goes into it, and the ids of its pictures in their order, int64 (k,)."""

    data: dict[str, Any]
    pictures: Ints
    clusters_left_out: int


def page_of(found: Found, most: int = MAX_PICTURES) -> Page:
    """The page of a run: clusters by the bytes that they would free; in each the keeper, then bridges, then duplicates.

    Clusters after the first `most` pictures are left out and counted.
    """
    frees = freed_of(found.images, found.clusters)
    order = order_of(found.clusters, frees)
    label = found.clusters["cluster"].to_numpy()[order]
    ends = np.flatnonzero(np.diff(label, append=-1)) + 1
    shown = ends[: max(1, int((ends <= most).sum()))]
    order = order[: shown[-1] if len(shown) else 0]
    rows, joined = found.clusters.take(order), joins(found.images, found.matches, found.clusters, found.threshold)
    ids = rows["image"].to_numpy()
    pictures = _files(found.images.take(ids)) | _roles(found, rows) | _joined(joined, order)
    nothing = pc.equal(rows["role"], "duplicate").to_numpy() & (frees[order] == 0)
    pictures["frees_nothing"] = np.flatnonzero(nothing).tolist()
    data: dict[str, Any] = {
        "clusters": {
            "number": label[shown - 1].tolist(),
            "size": np.diff(shown, prepend=0).tolist(),
        },
        "pictures": pictures,
        "words": {"roles": ROLES, "reasons": REASONS, "rules": RULES, "relations": RELATIONS},
        "files_here": found.files_here,
        "looked": found.relations is not None,
        "per_block": PER_BLOCK,
        "highest": max((mse for mse in pictures["mse"] if mse is not None), default=0),
    }
    return Page(data, ids, len(ends) - len(shown))


def as_json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends that, or begins another thing."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def path_href(path_raw: bytes) -> str:
    """A link to a file or an address."""
    if path_raw.startswith(_ADDRESSES):
        return quote(path_raw, safe="/:%")
    return "file:///" + quote(path_raw.lstrip(b"/"))  # two slashes would name a host


def failures(images: pa.Table) -> tuple[list[list[str]], int]:
    """Pictures that could not be read, if only by their name: [path, why]; and how many other files are no pictures."""
    named = pc.match_substring_regex(images["path"], _PICTURE_NAME, ignore_case=True)
    unidentified = pc.equal(images["status"], "unidentified")
    other = pc.and_(unidentified, pc.invert(named))
    gone = pc.is_in(images["status"], pa.array(["ok", "removed"]))
    failed = images.filter(pc.invert(pc.or_(gone, other)))
    columns = (failed[name].to_pylist() for name in ("path_raw", "status", "error"))
    rows = [
        [shown_path(path), status + (f": {printable(error)}" if error else "")]
        for path, status, error in zip(*columns, strict=True)
    ]
    return rows, pc.sum(other).as_py() or 0


def order_of(clusters: pa.Table, frees: Ints) -> Ints:
    """The rows in the order of the page."""
    label = clusters["cluster"].to_numpy()
    of_cluster = np.bincount(label, frees) if len(label) else np.zeros(0)
    role = pc.index_in(clusters["role"], pa.array(ROLES)).to_numpy()
    mse = clusters["mse_to_keeper"].fill_null(np.inf).to_numpy()
    return np.lexsort((mse, role, label, -of_cluster[label]))


def _files(images: pa.Table) -> dict[str, Any]:
    """What is known of the files, a row each: names, folders, sizes, times."""
    paths = images["path_raw"].to_pylist()
    folders: dict[bytes, int] = {}
    names, hrefs, folder = [], {}, []
    for row, path in enumerate(paths):
        head, _, tail = path.rpartition(b"/")
        folder.append(folders.setdefault(head, len(folders)))
        names.append(shown_path(tail))
        if names[-1].encode("utf-8", "replace") != tail or path.startswith(_ADDRESSES):
            hrefs[row] = path_href(path).rpartition("/")[2]  # the script cannot tell it from the name
    seconds = pc.divide(images["mtime_ns"], 1_000_000_000).to_pylist()
    taken = images["taken_at"].cast(pa.int64()).to_pylist()
    return {
        "folders": [[shown_path(head), path_href(head + b"/")] for head in folders],
        "folder": folder,
        "name": names,
        "hrefs": hrefs,
        "width": images["width"].to_pylist(),
        "height": images["height"].to_pylist(),
        "bytes": images["size_bytes"].to_pylist(),
        "time": [second or None for second in seconds],
        "taken": {row: second for row, second in enumerate(taken) if second is not None},
        "format": _worded(images["format"]),
        "camera": _worded(images["camera"]),
    }


def _worded(column: pa.ChunkedArray) -> dict[str, Any]:
    """A column of few words: the words, and for each row which it is, -1 for none; no rows if there are none."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    if not len(encoded.dictionary):
        return {"words": [], "at": []}
    return {
        "words": [printable(word) for word in encoded.dictionary.to_pylist()],
        "at": encoded.indices.fill_null(-1).to_pylist(),
    }


def _number(mse: float | None) -> float | None:
    """To four digits, which no threshold is asked finer than."""
    return float(f"{mse:.4g}") if mse is not None and np.isfinite(mse) else None


def _places(column: pa.ChunkedArray, words: Sequence[str]) -> list[int]:
    """Which of the words each row is, -1 for none."""
    return pc.index_in(column, pa.array(words)).fill_null(-1).to_pylist()  # type: ignore[no-any-return]


def _roles(found: Found, rows: pa.Table) -> dict[str, Any]:
    """What the clusters say of each picture, and how it relates to its keeper."""
    image, keeper = rows["image"].to_numpy(), rows["keeper"].to_numpy()
    mse = rows["mse_to_keeper"].to_pylist()
    links = found.images["link_of"].take(rows["image"])
    return {
        "role": _places(rows["role"], ROLES),
        "mse": [_number(value) for value in mse],
        "reason": _places(rows["reason"], list(REASONS)),
        "rule": _places(rows["rule"], list(RULES)),
        "relation": _places(_relations(found, image, keeper), list(RELATIONS)),
        "link": np.flatnonzero(pc.is_valid(links).to_numpy()).tolist(),
    }


def _relations(found: Found, image: Ints, keeper: Ints) -> pa.ChunkedArray:
    """How each image came of its keeper, or the keeper of it; null where that is not known.

    Equal hashes of files say 'same_bytes' where nobody has looked at the files themselves.
    """
    hashes = found.images["file_hash"]
    equal = pc.equal(hashes.take(pa.array(image)), hashes.take(pa.array(keeper))).fill_null(False).to_numpy()
    same = pa.chunked_array([pa.array(np.where(equal, "same_bytes", ""), pa.string(), mask=~equal | (image == keeper))])
    if found.relations is None:
        return same
    row = rows_of_pairs(image, keeper, found.relations)
    return pc.coalesce(found.relations["relation"].take(pa.array(row, mask=row < 0)), same)


def _joined(joined: Joins, order: Ints) -> dict[str, Any]:
    """How the pictures lie and are joined, by the few rows that have such: place of the picture on the page -> what."""
    place_of = np.full(len(joined.through), -1, np.int64)
    place_of[order] = np.arange(len(order))
    turns: Mapping[int, str] = {
        k: turn for k, row in enumerate(order) if (turn := joined.turn[row]) not in (None, "identity")
    }
    bridges = np.flatnonzero(joined.through[order] >= 0)
    through: npt.NDArray[np.int64] = place_of[joined.through[order]]
    return {
        "turn": turns,
        "through": {
            int(k): [int(through[k]), _number(joined.through_mse[order[k]]), joined.through_turn[order[k]]]
            for k in bridges
        },
    }
