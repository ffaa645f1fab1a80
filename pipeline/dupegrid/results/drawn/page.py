"""The tables of a run -> what its page is drawn from: columns of clusters and pictures, as JSON for its script."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints, id_dtype
from dupegrid.core.text import printable, shown_path
from dupegrid.core.values import BUCKETS, WEB
from dupegrid.pairs.batches import Matches
from dupegrid.results.drawn.through import Joins, joins
from dupegrid.results.freed import freed_of
from dupegrid.results.relations import relations_of
from dupegrid.results.rows import Rows
from dupegrid.storage.words import REASONS, RELATIONS, RULES

ROLES: Final = ("keep", "bridge", "duplicate")  # in this order on a card, so that bridges are never below a crowd
MAX_PICTURES: Final = 1_000_000  # a page of more would take a browser some 100 MB of JSON, and minutes
RELATION_LABELS: Final = {  # shorter than RELATIONS
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
_OF_CLUSTERS: Final = ("cluster", "image", "role", "keeper", "mse_to_keeper", "reason", "rule")
_AT_ONCE: Final = 1 << 14  # rows that are objects of Python's at a time
_PICTURE_NAME: Final = r"\.(jpe?g|png|gif|webp|tiff?|bmp|heic|heif|avif|jp2)$"


@dataclass(frozen=True)
class Found:
    """What a run found, and a page is drawn from."""

    images: pa.Table | Rows  # schema IMAGES
    clusters: pa.Table | Rows  # schema CLUSTERS
    matches: pa.Table | Matches  # at least the columns a, b, mse, orientation and score of MATCHES
    relations: pa.Table | None  # columns a, b and relation, one of RELATIONS; None where nobody has looked
    threshold: float
    files_here: bool = True  # whether the pictures are where the page is made; where not, none is asked for


class Few(NamedTuple):
    """A column that few rows have: their places, ascending, and the value of each."""

    at: Sequence[int] | Ints
    values: Sequence[Any] | pa.ChunkedArray


@dataclass(frozen=True)
class Page:
    """What a page holds: its data as it goes into it, and the ids of its pictures in their order, int64 (k,)."""

    data: dict[str, Any]  # columns are arrays: as objects of Python's, those of a million pictures take a GB
    pictures: Ints
    clusters_left_out: int


def page_of(found: Found, most: int = MAX_PICTURES) -> Page:
    """The page of a run: clusters by the bytes that they would free; in each the keeper, then bridges, then duplicates.

    Clusters after the first `most` pictures are left out and counted.
    """
    images, clusters = Rows.of(found.images), Rows.of(found.clusters)
    label: Ints = clusters.made(["cluster"], lambda part: part["cluster"].to_numpy(), id_dtype(len(clusters)))
    frees = freed_of(images, clusters)
    sizes, of_cluster = np.bincount(label), np.bincount(label, frees)
    ranked = np.argsort(-of_cluster, kind="stable")
    ends = np.cumsum(sizes[ranked])
    number = ranked[: max(1, int((ends <= most).sum()))]
    is_shown = np.zeros(len(sizes), bool)
    is_shown[number] = True
    chosen = np.flatnonzero(is_shown[label])
    rows, frees = clusters.take(chosen, _OF_CLUSTERS), frees[chosen]
    del label, is_shown, chosen
    order = order_of(rows, frees)
    rows, frees = rows.take(order), frees[order]
    pictures = _files(images, rows) | _roles(found, rows) | _joined(joins(images, found.matches, rows, found.threshold))
    pictures["frees_nothing"] = np.flatnonzero(pc.equal(rows["role"], "duplicate").to_numpy() & (frees == 0))
    highest = pc.max(pictures["mse"]).as_py()
    data: dict[str, Any] = {
        "clusters": {"number": number, "size": sizes[number]},
        "pictures": pictures,
        "words": {"roles": ROLES, "reasons": REASONS, "rules": RULES, "relations": RELATION_LABELS},
        "files_here": found.files_here,
        "looked": found.relations is not None,
        "per_block": PER_BLOCK,
        "highest": 0 if highest is None else highest,
    }
    return Page(data, rows["image"].to_numpy(), len(sizes) - len(number))


def as_json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends that, or begins another thing."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def json_pieces(data: Mapping[str, Any]) -> Iterator[str]:
    """`as_json` of the data of a page, some rows of a column at a time."""
    yield "{"
    for place, (name, value) in enumerate(data.items()):
        yield ("," if place else "") + as_json(name) + ":"
        if isinstance(value, dict):
            yield from json_pieces(value)
        elif isinstance(value, Few):
            parts = zip(_lists(value.at), _lists(value.values), strict=True)
            yield from _as_one("{}", (dict(zip(*part, strict=True)) for part in parts))
        elif isinstance(value, np.ndarray | pa.ChunkedArray):
            yield from _as_one("[]", _lists(value))
        else:
            yield as_json(value)
    yield "}"


def _lists(column: Any) -> Iterator[list[Any]]:
    """A column, some rows at a time."""
    for start in range(0, len(column), _AT_ONCE):
        part = column[start : start + _AT_ONCE]
        if isinstance(part, pa.ChunkedArray):
            yield part.to_pylist()
        else:
            yield part.tolist() if isinstance(part, np.ndarray) else list(part)


def _as_one(ends: str, parts: Iterable[object]) -> Iterator[str]:
    """The JSON of several lists or dicts as that of one."""
    yield ends[0]
    for place, part in enumerate(parts):
        yield ("," if place else "") + as_json(part)[1:-1]
    yield ends[1]


def path_href(path_raw: bytes) -> str:
    """A link to a file or an address."""
    if path_raw.startswith(_ADDRESSES):
        return quote(path_raw, safe="/:%")
    return "file:///" + quote(path_raw.lstrip(b"/"))  # two slashes would name a host


def failures(images: pa.Table | Rows) -> tuple[list[list[str]], int]:
    """Pictures that could not be read, if only by their name: [path, why]; and how many other files are no pictures."""
    rows, others = list[list[str]](), 0
    for part in Rows.of(images).each(["path", "path_raw", "status", "error"]):
        failed = part.filter(pc.invert(pc.is_in(part["status"], pa.array(["ok", "removed"]))))
        named = pc.match_substring_regex(failed["path"], _PICTURE_NAME, ignore_case=True)
        other = pc.and_(pc.equal(failed["status"], "unidentified"), pc.invert(named))
        others += pc.sum(other).as_py() or 0
        failed = failed.filter(pc.invert(other))
        columns = (failed[name].to_pylist() for name in ("path_raw", "status", "error"))
        rows += [
            [shown_path(path), status + (f": {printable(error)}" if error else "")]
            for path, status, error in zip(*columns, strict=True)
        ]
    return rows, others


def order_of(clusters: pa.Table, frees: Ints) -> Ints:
    """The rows in the order of the page."""
    label = clusters["cluster"].to_numpy()
    of_cluster = np.bincount(label, frees)
    role = pc.index_in(clusters["role"], pa.array(ROLES)).to_numpy()
    mse = clusters["mse_to_keeper"].fill_null(np.inf).to_numpy()
    return np.lexsort((mse, role, label, -of_cluster[label]))


def _files(images: Rows, rows: pa.Table) -> dict[str, Any]:
    """What is known of the files, a row each: names, folders, sizes, times."""
    ids = rows["image"].to_numpy()
    named = _named(images.pick(ids, ["path_raw"])["path_raw"])
    known = images.pick(ids, ["width", "height", "size_bytes", "mtime_ns", "taken_at"])
    seconds, taken = pc.divide(known["mtime_ns"], 1_000_000_000), known["taken_at"].cast(pa.int64())
    words = images.pick(ids, ["format", "camera"])
    return named | {
        "width": known["width"],
        "height": known["height"],
        "bytes": known["size_bytes"],
        "time": pc.if_else(pc.equal(seconds, 0), None, seconds),
        "taken": Few(np.flatnonzero(pc.is_valid(taken).to_numpy()), taken.drop_null()),
        "format": _worded(words["format"]),
        "camera": _worded(words["camera"]),
    }


def _named(paths: pa.ChunkedArray) -> dict[str, Any]:
    """Names and folders of files, some at a time."""
    folders: dict[bytes, int] = {}
    names, folder, hrefs = list[pa.Array](), np.empty(len(paths), np.int32), dict[int, str]()
    for start in range(0, len(paths), _AT_ONCE):
        here = list[str]()
        for row, path in enumerate(paths[start : start + _AT_ONCE].to_pylist(), start):
            head, _, tail = path.rpartition(b"/")
            folder[row] = folders.setdefault(head, len(folders))
            here.append(name := shown_path(tail))
            if name.encode("utf-8", "replace") != tail or path.startswith(_ADDRESSES):
                hrefs[row] = path_href(path).rpartition("/")[2]  # the script cannot tell it from the name
        names.append(pa.array(here, pa.string()))
    return {
        "folders": [[shown_path(head), path_href(head + b"/")] for head in folders],
        "folder": folder,
        "name": pa.chunked_array(names, pa.string()),
        "hrefs": Few([*hrefs], [*hrefs.values()]),
    }


def _worded(column: pa.ChunkedArray) -> dict[str, Any]:
    """A column of few words: the words, and for each row which it is, -1 for none; no rows if there are none."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    if not len(encoded.dictionary):
        return {"words": [], "at": []}
    return {
        "words": [printable(word) for word in encoded.dictionary.to_pylist()],
        "at": encoded.indices.fill_null(-1).to_numpy(),
    }


def _numbers(mse: pa.ChunkedArray) -> pa.ChunkedArray:
    """To four digits, which no threshold is asked finer than; null where they are not finite."""
    some = (mse[start : start + _AT_ONCE].to_pylist() for start in range(0, len(mse), _AT_ONCE))
    return pa.chunked_array([pa.array(map(_number, part), pa.float64()) for part in some], pa.float64())


def _number(mse: float | None) -> float | None:
    return float(f"{mse:.4g}") if mse is not None and np.isfinite(mse) else None


def _places(column: pa.ChunkedArray, words: Sequence[str]) -> Ints:
    """Which of the words each row is, -1 for none."""
    return pc.index_in(column, pa.array(words)).fill_null(-1).to_numpy()  # type: ignore[no-any-return]


def _roles(found: Found, rows: pa.Table) -> dict[str, Any]:
    """What the clusters say of each picture, and how it relates to its keeper."""
    links = Rows.of(found.images).pick(rows["image"].to_numpy(), ["link_of"])["link_of"]
    return {
        "role": _places(rows["role"], ROLES),
        "mse": _numbers(rows["mse_to_keeper"]),
        "reason": _places(rows["reason"], list(REASONS)),
        "rule": _places(rows["rule"], list(RULES)),
        "relation": _places(_relations(found, rows["image"].to_numpy(), rows["keeper"].to_numpy()), list(RELATIONS)),
        "link": np.flatnonzero(pc.is_valid(links).to_numpy()),
    }


def _relations(found: Found, image: Ints, keeper: Ints) -> pa.ChunkedArray:
    """How each image came of its keeper, or the keeper of it; null where that is not known.

    Equal hashes of files say 'same_bytes' where nobody has looked at the files themselves.
    """
    known, place = np.unique(image, return_inverse=True)  # a keeper is one of them
    hashes = Rows.of(found.images).take(known, ["file_hash"])["file_hash"]
    pairs = hashes.take(pa.array(place)), hashes.take(pa.array(np.searchsorted(known, keeper)))
    equal = pc.equal(*pairs).fill_null(False).to_numpy()
    same = pa.chunked_array([pa.array(np.where(equal, "same_bytes", ""), pa.string(), mask=~equal | (image == keeper))])
    if found.relations is None:
        return same
    return pc.coalesce(relations_of(image, keeper, found.relations), same)


def _joined(joined: Joins) -> dict[str, Any]:
    """How the pictures lie and are joined, by the few rows that have such: place of the picture on the page -> what."""
    turned = [k for k, turn in enumerate(joined.turn) if turn not in (None, "identity")]
    bridges = np.flatnonzero(joined.through >= 0).tolist()
    steps = [[int(joined.through[k]), _number(joined.through_mse[k]), joined.through_turn[k]] for k in bridges]
    return {"turn": Few(turned, [joined.turn[k] for k in turned]), "through": Few(bridges, steps)}
