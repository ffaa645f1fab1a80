"""Pictures in a notebook: pairs side by side, and columns of pictures in tables. HTML without a script.

All text that is not ours is escaped.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import ORIENTATIONS, Float64s, Pixels
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted, display_path, printable, shown_path, size_text
from dupegrid.images.recipe import encode_jpeg
from dupegrid.pairs.batches import Matches
from dupegrid.results.rows import Rows
from dupegrid.results.run_like import ThumbsOf
from dupegrid.storage.schemas import MATCHES

_ORDERS: Final = {"mse": 1, "-mse": -1}
_SIDE_PX: Final = 96
_SHOWN: Final = 20
_STYLE: Final = (
    "<style>.dg-pairs{display:flex;flex-wrap:wrap;gap:12px;font:13px/1.4 system-ui,sans-serif}"
    ".dg-pair{border:1px solid #8884;border-radius:8px;padding:8px;max-width:420px}"
    ".dg-two{display:flex;gap:8px;align-items:end}.dg-two figure{margin:0;width:50%;min-width:96px}"
    ".dg-two figcaption{overflow-wrap:anywhere;font-size:12px;opacity:.75}.dg-pair img{border-radius:3px}"
    "</style>"
)


class Html:
    """A piece of a page, which a notebook draws; `html` is its text."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Html({len(self.html):,} characters)"


class Pairs:
    """Matches in an order, read as they are asked for: a notebook draws the first; a slice of them is one too."""

    def __init__(self, matches: Matches, images: Rows, thumbs_of: ThumbsOf, scores: Float64s, rows: range) -> None:
        """Those at some places in the order of the scores, which are all of them, ascending: their MSE, or less it."""
        self._all, self._scores, self._rows = matches, scores, rows
        self._images, self._thumbs_of = images, thumbs_of

    @classmethod
    def ordered(cls, matches: Matches, images: Rows, thumbs_of: ThumbsOf, order: str) -> "Pairs":
        """All matches, by their MSE: 'mse' begins with the most alike, '-mse' with the least. UsageError for others."""
        if order not in _ORDERS:
            raise UsageError(f"order is {order!r}: use {', '.join(map(repr, _ORDERS))}")
        sign = _ORDERS[order]
        # By the score batches are put in order: so it goes where the MSE was, and is got back from there.
        keyed = Matches(
            lambda: (batch._replace(score=sign * batch.mse, mse=batch.score) for batch in matches), matches.window_bytes
        )
        scores = keyed.scores()
        return cls(keyed, images, thumbs_of, scores, range(len(scores)))

    @cached_property
    def matches(self) -> pa.Table:
        """Their table: the columns a, b, mse, orientation and score of schema MATCHES."""
        rows = self._all.at(np.array(self._rows, np.int64), self._scores)
        turns = pa.array(ORIENTATIONS).take(pa.array(rows.turn, mask=rows.turn < 0))
        columns = {"a": rows.a, "b": rows.b, "mse": np.abs(rows.score), "orientation": turns, "score": rows.mse}
        return pa.table(columns, schema=pa.schema(map(MATCHES.field, columns)))

    def show(self, most: int = _SHOWN) -> Html:
        """The first so many pairs, side by side, with their MSE, and what turns b as it matches."""
        rows = self[: number_of_rows(most)].matches.to_pylist()
        ids = np.array([row[side] for row in rows for side in ("a", "b")], np.int64)
        pictures = self._images.pick(ids, ["path_raw", "width", "height", "size_bytes"]).to_pylist()
        figures = [_figure(image, thumb) for image, thumb in zip(pictures, self._thumbs_of(ids), strict=True)]
        cards = [
            f"<div class='dg-pair'><b>MSE {row['mse']:.4g}</b>, images {row['a']} and {row['b']}"
            + ("" if row["orientation"] == "identity" else f", b {escape(row['orientation'])}")
            + f"<div class='dg-two'>{figures[2 * k]}{figures[2 * k + 1]}</div></div>"
            for k, row in enumerate(rows)
        ]
        return Html(f"{_STYLE}<div class='dg-pairs'>{''.join(cards)}</div>{_left_out(len(self) - len(rows), 'pair')}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> "Pairs":
        if not isinstance(rows, slice):
            raise UsageError(f"pairs are taken by a slice, as in pairs[:20], not by {rows!r}")
        return Pairs(self._all, self._images, self._thumbs_of, self._scores, self._rows[rows])

    def __repr__(self) -> str:
        ends = np.abs(self._scores[[self._rows[0], self._rows[-1]]]) if len(self) else ()
        return f"Pairs({counted(len(self), 'pair')}{', MSE {:.4g} to {:.4g}'.format(*ends) if len(self) else ''})"

    def _repr_html_(self) -> str:
        return f"<div>{escape(repr(self))}</div>{self.show().html}"


def table_html(frame: Any, images: Sequence[str], known: pa.Table, thumbs_of: ThumbsOf, most: int) -> Html:
    """The first so many rows of a table, where columns of ids are pictures.

    `frame` is of pandas, polars, DuckDB, pyarrow or whatever else gives Arrow; `images` are names of its columns, and
    `known` is a table of schema IMAGES. UsageError for a column that is not there, or that holds no ids.
    """
    whole = _as_table(frame)
    rows = whole.slice(0, number_of_rows(most))
    pictures = {name: _pictures(rows, name, known, thumbs_of) for name in images}
    head = "".join(f"<th>{_text(name)}</th>" for name in rows.column_names)
    lines = []
    for k, row in enumerate(rows.to_pylist()):
        cells = (pictures[name][k] if name in pictures else _text(value) for name, value in row.items())
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return Html(table + _left_out(len(whole) - len(rows), "row"))


def number_of_rows(most: Any) -> int:
    """How many are shown. UsageError where that is no number of them."""
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise UsageError(f"most is {most!r}: give a number of rows, 0 or more")
    return most


def _as_table(frame: Any) -> pa.Table:
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())
        raise UsageError(
            f"cannot show a {type(frame).__name__} ({printable(problem)}): give a table of pandas, polars or pyarrow"
        ) from None
    numbers = [name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)]
    return table.drop_columns(numbers)  # the rows of pandas, where they were sorted or filtered


def _pictures(rows: pa.Table, name: str, known: pa.Table, thumbs_of: ThumbsOf) -> list[str]:
    """A cell for each row, empty where there is no id."""
    if rows.column_names.count(name) != 1:
        raise UsageError(f"no column {name!r}: there are {', '.join(map(printable, rows.column_names))}")
    try:
        ids = rows[name].cast(pa.int64())  # what is no whole number is refused
    except pa.ArrowException:
        raise UsageError(f"column {name!r} holds {rows[name].type}, not ids of images") from None
    there = np.array([number for number in ids.to_pylist() if number is not None], np.int64)
    if len(there) and not 0 <= there.min() <= there.max() < len(known):
        raise UsageError(f"column {name!r} names images that this run has not: it has {len(known):,}, counted from 0")
    images = known.select(["path_raw", "width", "height"]).take(pa.array(there)).to_pylist()
    cells = iter([picture(image, thumb) for image, thumb in zip(images, thumbs_of(there), strict=True)])
    return ["" if number is None else next(cells) for number in ids.to_pylist()]


def picture(image: Mapping[str, Any], thumb: Pixels, side_px: int = _SIDE_PX) -> str:
    """A thumbnail in the picture's own proportions, its longer side so long; where it is from shows over it.

    Of a file that was not read there is none, but a box.
    """
    path = escape(shown_path(image["path_raw"]))
    width, height = image["width"], image["height"]
    if not width or not height:
        return f"<span title='{path}'>not read</span>"
    scale = side_px / max(width, height)
    size = f"width='{max(8, round(width * scale))}' height='{max(8, round(height * scale))}'"
    source = base64.b64encode(encode_jpeg(thumb)).decode()
    return f"<img src='data:image/jpeg;base64,{source}' {size} alt='' title='{path}' style='max-width:none'>"


def _figure(image: Mapping[str, Any], thumb: Pixels) -> str:
    name = shown_path(image["path_raw"].rsplit(b"/", 1)[-1])
    facts = f"{image['width']} × {image['height']}, {size_text(image['size_bytes'])}"
    return (
        f"<figure>{picture(image, thumb)}<figcaption><bdi>{escape(name)}</bdi><br>{escape(facts)}</figcaption></figure>"
    )


def _text(value: Any) -> str:
    """A value of a table as escaped text."""
    if isinstance(value, bytes):
        value = display_path(value)
    elif isinstance(value, float):
        value = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else f"<bdi>{escape(printable(str(value)))}</bdi>"


def _left_out(count: int, noun: str) -> str:
    return f"<div>… and {counted(count, noun)} more</div>" if count > 0 else ""


def table_of(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A small table of texts, which are escaped; a value that is `Html` goes in as it is."""
    top = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td style='text-align:left'>{cell.html if isinstance(cell, Html) else _text(cell)}</td>" for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"
