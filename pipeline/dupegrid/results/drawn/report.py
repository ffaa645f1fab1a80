"""report.html and contact sheets: the pictures of each cluster, from the stored thumbnails alone.

The page opens from a disk and loads nothing but pictures from there. Its script is ours alone, which the policy in it
names by its hash; what a file is called comes to it as JSON, and onto the page as text.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, SupportsInt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints, Pixels
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted, quantity, shown_path, size_text
from dupegrid.images.recipe import encode_jpeg
from dupegrid.results.answers import Summary
from dupegrid.results.drawn.page import PER_BLOCK, ROLES, Found, as_json, failures, json_pieces, page_of, path_href
from dupegrid.results.freed import freed_of
from dupegrid.results.rows import Rows
from dupegrid.results.run_like import ThumbsOf
from dupegrid.storage.words import REASONS, RULES

if TYPE_CHECKING:
    import jinja2

_SHOWN: Final = 40  # pictures of a cluster on a contact sheet
MAX_THUMBS_BYTES: Final = 120_000_000  # on a page: some 120,000 pictures; more are shown from their files
_FIRST_CLUSTERS: Final = 12  # what a page shows where no script runs,
_FIRST_PICTURES: Final = 8  # and of each of them
_FIRST_FAILURES: Final = 100
_QUALITY: Final = 80
_CLEAR_PICTURES: Final = 10_240  # the first, on some 100 pages of cards; those after them take two fifths less
_LATER_QUALITY: Final = 50
_LONGER_SIDE_PX: Final = 132
_OF_IMAGES: Final = ("path_raw", "size_bytes", "width", "height", "link_of")
_PAGE: Final = Path(__file__).parent / "page"
_STYLES: Final = ("cards.css", "report.css", "stage.css", "compare.css")
_SCRIPTS: Final = (
    *("text.js", "data.js", "filters.js", "cards.js", "sharpen.js"),
    *("stage.js", "compare.js", "keys.js", "main.js"),
)


@cache
def pages() -> "jinja2.Environment":
    """The templates of the pages."""
    import jinja2  # here, as it takes a tenth of a second, and most verbs draw no page

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {"quantity": quantity, "counted": counted, "bytes": size_text}
    return found


Card = dict[str, Any]  # a cluster as cards.html.jinja shows it: number, size, freed_bytes, pictures, left_out


class Sheet:
    """A contact sheet: draws itself in a notebook; `html` is the same as text."""

    def __init__(self, cards: Sequence[Card]) -> None:
        style = _inlined("cards.css")[0]
        self.html: str = f"<style>\n{style}</style>\n" + pages().get_template("cards.html.jinja").render(cards=cards)

    def _repr_html_(self) -> str:
        return self.html


def cards(
    clusters: pa.Table | Rows, images: pa.Table | Rows, thumbs_of: ThumbsOf, numbers: Sequence[int], most: int = _SHOWN
) -> list[Card]:
    """The clusters with these numbers, with at most `most` pictures of each."""
    clusters, images = Rows.of(clusters), Rows.of(images)
    chosen = clusters.made(["cluster"], lambda part: np.isin(part["cluster"].to_numpy(), numbers), bool)
    rows, frees = clusters.take(np.flatnonzero(chosen), clusters.schema.names), freed_of(images, clusters)[chosen]
    label = rows["cluster"].to_numpy()
    role = pc.index_in(rows["role"], pa.array(ROLES)).to_numpy()  # bridges are not among those that are left out
    members = {}
    for number in numbers:
        here = np.flatnonzero(label == number)
        members[number] = here[np.argsort(role[here], kind="stable")]
    shown = rows.take(np.concatenate([np.empty(0, np.int64), *(member[:most] for member in members.values())]))
    ids = shown["image"].to_numpy()
    pictures = map(_picture, shown.to_pylist(), images.pick(ids, _OF_IMAGES).to_pylist(), thumbs_of(ids))
    result: list[Card] = []
    for number, member in members.items():
        drawn = list(islice(pictures, len(member[:most])))
        known = {"number": number, "size": len(member), "freed_bytes": int(frees[member].sum())}
        result.append({**known, "pictures": drawn, "left_out": len(member) - len(drawn)})
    return result


def sheet_of(
    clusters: pa.Table, images: pa.Table | Rows, thumbs_of: ThumbsOf, cluster: SupportsInt | Iterable[SupportsInt]
) -> Sheet:
    """A contact sheet of clusters, by their numbers. UsageError for what is no number of one."""
    known = len(pc.unique(clusters["cluster"]))
    given = cluster if isinstance(cluster, Iterable) and not isinstance(cluster, str) else [cluster]
    numbers = [_whole(number) for number in given]
    for number in numbers:
        if not 0 <= number < known:
            raise UsageError(f"no cluster {number}: this run has {known}, counted from 0")
    return Sheet(cards(clusters, images, thumbs_of, numbers))


def _whole(number: Any) -> int:
    try:
        if (whole := int(number)) == number:
            return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"cluster is {number!r}: give its number, or several")


def report(found: Found, thumbs_of: ThumbsOf, summary: Summary, about: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The report as one HTML page, in pieces: its thumbnails are read, encoded and let go block by block.

    `about` is what else is said of the run: headings and lines of text.
    """
    page = page_of(found)
    failed, not_pictures = failures(found.images)
    style, style_hash = _inlined(*_STYLES)
    script, script_hash = _inlined(*_SCRIPTS)
    return (
        pages()
        .get_template("report.html.jinja")
        .generate(
            data=json_pieces(page.data),
            failures_data=as_json(failed),
            blocks=_blocks(page.pictures, thumbs_of),
            cards=cards(
                found.clusters,
                found.images,
                thumbs_of,
                page.data["clusters"]["number"][:_FIRST_CLUSTERS].tolist(),
                _FIRST_PICTURES,
            ),
            clusters_left_out=page.clusters_left_out,
            failures=failed,
            first_failures=_FIRST_FAILURES,
            not_pictures=not_pictures,
            summary=summary,
            about=about,
            style=style,
            style_hash=style_hash,
            script=script,
            script_hash=script_hash,
        )
    )


@cache
def _inlined(*names: str) -> tuple[str, str]:
    """Files of ours one after the other, as they stand in a page, and the hash by which its policy names them."""
    text = "".join((_PAGE / name).read_text(encoding="utf-8") for name in names)
    if names[0].endswith(".js"):
        text = f'(() => {{\n"use strict";\n{text}}})();\n'
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _blocks(ids: Ints, thumbs_of: ThumbsOf) -> Iterator[str]:
    """Thumbnails as JPEG files in base64, each block of them after what its files begin with, with commas between.

    Ends where the page would take over MAX_THUMBS_BYTES.
    """
    size = 0
    for start in range(0, len(ids), PER_BLOCK):
        quality = _QUALITY if start < _CLEAR_PICTURES else _LATER_QUALITY
        block = _block([encode_jpeg(thumb, quality) for thumb in thumbs_of(ids[start : start + PER_BLOCK])])
        size += len(block)
        if size > MAX_THUMBS_BYTES:
            return
        yield block


def _block(files: Sequence[bytes]) -> str:
    """JPEG files of one size begin with the same tables, a third of each: these stand once."""
    head = files[0].index(b"\xff\xda") // 3 * 3  # before the scan, where base64 can be cut
    if any(file[:head] != files[0][:head] for file in files):
        head = 0
    parts = [files[0][:head], *(file[head:] for file in files)]
    return ",".join(base64.b64encode(part).decode() for part in parts)


def _picture(row: Mapping[str, Any], image: Mapping[str, Any], thumb: Pixels) -> dict[str, Any]:
    """One image as a card shows it."""
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
    return {
        "role": row["role"],
        "caption": ", ".join(caption),
        "folder": shown_path(path_raw.rpartition(b"/")[0]),
        "name": shown_path(path_raw.rpartition(b"/")[2]),
        "path": shown_path(path_raw),
        "href": path_href(path_raw),
        "source": "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(thumb)).decode(),
        "width_px": max(8, round(width * scale)),
        "height_px": max(8, round(height * scale)),
    }
