"""report.html and contact sheets: the pictures of each cluster, from the stored thumbnails alone; no script."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints, Pixels
from dupegrid.core.text import counted, display_path, printable, quantity, size_text
from dupegrid.core.values import BUCKETS, WEB
from dupegrid.images.recipe import encode_jpeg
from dupegrid.results.answers import Summary
from dupegrid.storage.schemas import REASONS, RULES

ThumbsOf = Callable[[Ints], Pixels]  # ids -> thumbnails

MAX_CLUSTERS: Final = 300  # on a page; what is left out is said on it
MAX_PICTURES: Final = 40  # of a cluster
MAX_FAILURES: Final = 500
_LONGER_SIDE_PX: Final = 132
_ADDRESSES: Final = tuple(f"{scheme}://".encode() for scheme in (*WEB, *BUCKETS))  # and no other: none runs a script
_PICTURE_NAME: Final = r"\.(jpe?g|png|gif|webp|tiff?|bmp|heic|avif|jp2)$"

_pages = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Picture:
    """One image as a page shows it."""

    role: str
    caption: str
    folder: str
    name: str
    path: str
    href: str
    source: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Card:
    """One cluster as a page shows it; `left_out` pictures are only counted."""

    number: int
    size: int
    duplicate_bytes: int
    pictures: Sequence[Picture]
    left_out: int


class Sheet:
    """A contact sheet: draws itself in a notebook; `html` is the same as text."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self.html: str = _pages.get_template("sheet.html.jinja").render(cards=cards)

    def _repr_html_(self) -> str:
        return self.html


def cards(
    clusters: pa.Table, images: pa.Table, thumbs_of: ThumbsOf, numbers: Sequence[int], most: int = MAX_PICTURES
) -> list[Card]:
    """The clusters with these numbers, with at most `most` pictures of each."""
    rows = clusters.filter(pc.is_in(clusters["cluster"], pa.array(numbers, pa.int64())))
    label = rows["cluster"].to_numpy()
    ends = np.flatnonzero(np.diff(label, append=-1)) + 1
    members = [range(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if len(rows) else []
    shown = np.array([row for member in members for row in member[:most]], np.int64)
    ids = rows["image"].take(shown).to_numpy()
    facts = dict(zip(ids.tolist(), images.take(ids).to_pylist(), strict=True))
    pixels = dict(zip(ids.tolist(), thumbs_of(ids), strict=True))
    sizes = images["size_bytes"].take(rows["image"]).to_numpy()
    roles = rows["role"].to_pylist()
    result = []
    for member in members:
        here = rows.slice(member.start, min(len(member), most)).to_pylist()
        pictures = [_picture(row, facts[row["image"]], pixels[row["image"]]) for row in here]
        duplicate_bytes = sum(int(sizes[k]) for k in member if roles[k] == "duplicate")
        result.append(Card(int(label[member.start]), len(member), duplicate_bytes, pictures, len(member) - len(here)))
    return sorted(result, key=lambda card: list(numbers).index(card.number))


def render(clusters: pa.Table, images: pa.Table, thumbs_of: ThumbsOf, summary: Summary) -> str:
    """The report as one HTML page."""
    count = len(pc.unique(clusters["cluster"]))
    failed = _unreadable_pictures(images)
    failures = failed.slice(0, MAX_FAILURES).select(["path_raw", "status", "error"]).to_pylist()
    return _pages.get_template("report.html.jinja").render(
        cards=cards(clusters, images, thumbs_of, range(min(count, MAX_CLUSTERS))),
        clusters_left_out=max(0, count - MAX_CLUSTERS),
        failures=[
            {**row, "path": printable(display_path(row["path_raw"])), "error": printable(row["error"] or "")}
            for row in failures
        ],
        failures_left_out=len(failed) - len(failures),
        summary=summary,
    )


_pages.filters |= {"quantity": quantity, "counted": counted, "bytes": size_text}


def _unreadable_pictures(images: pa.Table) -> pa.Table:
    """The files that could not be read and are pictures, if only by their name."""
    named = pc.match_substring_regex(images["path"], _PICTURE_NAME, ignore_case=True)
    other = pc.and_(pc.equal(images["status"], "unidentified"), pc.invert(named))
    return images.filter(pc.and_(pc.not_equal(images["status"], "ok"), pc.invert(other)))


def _picture(row: Mapping[str, Any], image: Mapping[str, Any], thumb: Pixels) -> Picture:
    path_raw: bytes = image["path_raw"]
    width, height = image["width"], image["height"]
    scale = _LONGER_SIDE_PX / max(width, height)
    mse, reason, rule = row["mse_to_keeper"], row["reason"], row["rule"]
    caption = [f"{width} × {height}", size_text(image["size_bytes"])]
    caption += ["another name of one file"] if image["link_of"] is not None else []
    caption += [f"MSE {mse:.1f}"] if mse is not None and row["role"] != "keep" else []
    caption += [REASONS[reason]] if reason is not None else []
    compared = f" ({row['compared']})" if row["compared"] else ""
    caption += [f"the one to keep {RULES[rule]}{compared}"] if rule is not None else []
    return Picture(
        role=row["role"],
        caption=", ".join(caption),
        folder=printable(display_path(path_raw.rsplit(b"/", 1)[0])),
        name=printable(display_path(path_raw.rsplit(b"/", 1)[-1])),
        path=printable(display_path(path_raw)),
        href=quote(path_raw, safe="/:%") if path_raw.startswith(_ADDRESSES) else "file://" + quote(path_raw),
        source="data:image/jpeg;base64," + base64.b64encode(encode_jpeg(thumb)).decode(),
        width_px=max(8, round(width * scale)),
        height_px=max(8, round(height * scale)),
    )
