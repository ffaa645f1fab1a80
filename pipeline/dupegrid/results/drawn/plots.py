"""Plots of a run, or of tables of one: each function draws onto an Axes, and gives it back; none shows anything.

Where no `ax` is given there is a new figure, which a notebook draws.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHOICES, ORIENTATIONS, Float64s, Ints, Pixels, turned
from dupegrid.core.errors import UsageError
from dupegrid.core.progress import Reporter
from dupegrid.core.text import counted, display_path, size_text
from dupegrid.core.values import StrPath
from dupegrid.images.views import by_views
from dupegrid.pairs.compare import tiles_done
from dupegrid.pairs.kernel import mse_block
from dupegrid.results.cut import curve, steps
from dupegrid.results.drawn.axes import Axes, Figure, heat_map, mse_map, named, new_axes, png, short, tile_map, titled
from dupegrid.results.drawn.differences import difference as difference_of
from dupegrid.results.drawn.plot_files import DRAWN_BY, MOST, Plots, save_plots
from dupegrid.results.run_like import RunLike, measure
from dupegrid.results.stored import hashed_images_of, known_ids

__all__ = [
    "bands",
    "difference",
    "folders",
    "heat_map",
    "histogram",
    "progress",
    "save",
    "split_matrix",
    "thresholds",
    "window",
]

_NEAR, _FAR, _LINE = "#1a8f4a", "#b9c0c7", "#c23b22"
_BARS: Final = 60
_BANDS: Final = 6
_LARGEST_WINDOW: Final = 1000  # images a side: 8 MB of values, from 12 MB of thumbnails
_FOLDERS: Final = 20  # on a heat map
_GAP: Final = 0.06  # between pictures, in widths of one


def histogram(run: RunLike, ax: Axes | None = None) -> Axes:
    """How many pairs have which MSE, up to the cutoff, with the threshold as a line. Both axes are logarithmic."""
    ax = new_axes(ax)
    threshold, cutoff = run.config.threshold, run.config.cutoff or 1.0
    lowest, pairs, near_pairs = [], 0, 0
    for batch in run.match_batches:
        lowest.append(batch.score[batch.score > 0].min(initial=cutoff))
        pairs, near_pairs = pairs + len(batch.score), near_pairs + int((batch.score <= threshold).sum())
    least = _power_of_ten(max(min(lowest, default=cutoff), cutoff * 1e-4))
    edges = np.unique([0.0, *np.geomspace(least, cutoff, _BARS), min(threshold, cutoff)])
    counts = sum((np.histogram(batch.score, edges)[0] for batch in run.match_batches), np.zeros(len(edges) - 1, int))
    near = edges[1:] <= threshold
    ax.stairs(np.where(near, counts, 0), edges, fill=True, color=_NEAR, label="at or under the threshold")
    if not near.all():
        ax.stairs(np.where(near, 0, counts), edges, fill=True, color=_FAR, label="over it")
    ax.axvline(threshold, color=_LINE, linewidth=1.5, label=f"threshold {threshold:g}")
    ax.set_xscale("symlog", linthresh=least, linscale=0.2)
    if counts.any():
        ax.set_yscale("log")
    ax.set(xlim=(0, cutoff * 1.2), ylim=(0.8, max(2.0, counts.max(initial=0) * 1.5)))
    ax.set(xlabel=measure(run.config), ylabel="pairs")
    ax.legend(frameon=False, fontsize="small")
    return titled(ax, f"{near_pairs:,} of {counted(pairs, 'pair')} at or under {threshold:g}")


def thresholds(run: RunLike, ax: Axes | None = None) -> Axes:
    """How many clusters, duplicates and bridges each threshold up to the cutoff would give, and the bytes to be freed.

    These are in duplicates, and have an axis of their own, at the right.
    """
    ax, threshold = new_axes(ax), run.config.threshold
    at = steps(threshold, run.config.cutoff)
    found = curve(hashed_images_of(run), run.match_batches, run.config, at, run.decided)
    x = found["threshold"].to_numpy()
    for name, colour in (("bridges", "#b26a00"), ("clusters", "#2b6cb0"), ("duplicates", _NEAR)):
        ax.step(x, found[name].to_numpy(), where="post", color=colour, label=name)
    right = ax.twinx()
    right.step(x, found["duplicate_bytes"].to_numpy(), where="post", color="#68737d", linestyle=":", label="bytes")
    right.yaxis.set_major_formatter(lambda value, _: size_text(value))
    right.set_ylabel("in duplicates")
    ax.axvline(threshold, color=_LINE, linewidth=1.5, label=f"threshold {threshold:g}")
    ax.set_xscale("symlog", linthresh=_power_of_ten(x[x > 0].min(initial=1.0)), linscale=0.2)
    ax.set_xlim(left=0)
    for axis in (ax, right):
        axis.set_ylim(bottom=0)
    ax.set(xlabel="threshold", ylabel="found")
    lines = [*ax.get_lines(), *right.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize="small", loc="center left")
    return titled(ax, "What another threshold would find")


def window(run: RunLike, images: slice | Sequence[int] | Ints = slice(100), ax: Axes | None = None) -> Axes:
    """A window of the all-to-all matrix: the MSE of some images with each other, by their ids or as a slice of them.

    Exact, the least over the orientations; white where a file was not read. UsageError for over 1,000 images.
    """
    ids = np.arange(len(run.images))[images] if isinstance(images, slice) else known_ids(images, len(run.images))
    if len(ids) > _LARGEST_WINDOW:
        raise UsageError(f"a window of {len(ids):,} images is too large to draw: take up to {_LARGEST_WINDOW:,}")
    thumbs, ok = run.thumbs_of(ids), pc.equal(run.images["status"].take(ids), "ok").to_numpy()
    mse = np.where(ok[:, None] & ok[None, :], mse_block(thumbs, thumbs, CHOICES[run.config.orientations]), np.nan)
    ax = new_axes(ax)
    mse_map(ax, mse, run.config.threshold)
    ax.set(xlabel="image", ylabel="image")
    return titled(ax, f"MSE of {counted(len(ids), 'image')} with each other")


def bands(run: RunLike, edges: Sequence[float] = (), each: int = 6, ax: Axes | None = None) -> Axes:
    """Pairs of each band of MSE, the most alike at the top: where do they stop being the same?

    The bands lie between the `edges`; where none are given they hold about as many pairs each, and the threshold is
    one of them, drawn as a line. Of each, up to `each` pairs are drawn, evenly over it, side by side, the second one
    turned as it matches.
    """
    matches = run.match_batches
    score = matches.scores()
    parts = np.quantile(score, np.linspace(0, 1, _BANDS + 1)) if len(score) else [0.0]
    cuts = np.unique([*edges] if len(edges) else [*parts, run.config.threshold])
    ends = np.searchsorted(score, cuts, side="right")
    ends[:1] = np.searchsorted(score, cuts[:1])
    ax = new_axes(ax, 1.45 * each + 1, 0.75 * len(cuts))
    picked = [
        first + np.unique(np.linspace(0, count - 1, each if count else 0).astype(np.int64))
        for first, count in zip(ends[:-1], np.diff(ends), strict=True)
    ]
    columns = [(band, column) for band, places in enumerate(picked) for column in range(len(places))]
    drawn = matches.at(np.concatenate([np.empty(0, np.int64), *picked]), score)
    for (band, column), a, b, turn in zip(columns, drawn.a, drawn.b, drawn.turn, strict=True):
        x, pair = column * (2 + 4 * _GAP), {"a": a, "b": b, "orientation": ORIENTATIONS[turn]}
        for left, picture in zip((x, x + 1 + _GAP / 2), _pair(run, pair), strict=True):
            ax.imshow(picture, extent=(left, left + 1, band + 1 - _GAP, band + _GAP))
    labels = [
        f"{a:,.4g} to {b:,.4g}\n{counted(n, 'pair')}" for (a, b), n in zip(pairwise(cuts), np.diff(ends), strict=True)
    ]
    ax.set(xlim=(-_GAP, each * (2 + 4 * _GAP)), ylim=(max(1, len(labels)), 0), aspect="equal", xticks=[])
    ax.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize="small")
    ax.spines[:].set_visible(False)
    for k in np.flatnonzero(cuts == run.config.threshold):
        ax.axhline(float(k), color=_LINE, linewidth=1.5)
    return titled(ax, f"Pairs by {measure(run.config)}, the most alike at the top")


def folders(table: pa.Table, ax: Axes | None = None) -> Axes:
    """Folder by folder, how much of the one (row) is in the other (column), in percent; up to 20 of them.

    `table` has the columns folder_a, folder_b, percent_a and percent_b, as `dupegrid.folders` gives it.
    """
    names, percent = _two_way(table, "folder_a", "folder_b")
    np.fill_diagonal(percent, np.nan)
    some = slice(_FOLDERS)
    ax = heat_map(percent[some, some], names[some], names[some], new_axes(ax, 7.5, 6), "percent of the row")
    more = len(names) - _FOLDERS
    return titled(ax, "Of this folder (row) so much is in that one" + (f"; {more:,} more folders" if more > 0 else ""))


def split_matrix(found: Any, ax: Axes | None = None) -> Axes:
    """Split by split, how much of the one (row) has a near duplicate in the other (column), in percent.

    `found` is what `dupegrid.leakage` gives, or its table `matrix`: split_a, split_b, percent_a and percent_b.
    """
    names, percent = _two_way(getattr(found, "matrix", found), "split_a", "split_b")
    ax = heat_map(percent, names, names, new_axes(ax), "percent of the row")
    return titled(ax, "Of this split (row) so much has a near duplicate in that one")


def progress(run: RunLike, ax: Axes | None = None) -> Axes:
    """Which tiles of the all-to-all matrix are compared, which are to do, and which earlier runs settled."""
    done, tiles = tiles_done(by_views(run.run_dir, run.config), run.pairs_key)
    strips, total = (tiles.shape[0], tiles.total) if tiles else (0, 0)
    state = np.full((max(1, strips),) * 2, np.nan)
    for i in range(strips):  # images that are settled come last, so what is left out of the total is whole rows
        state[i, i:] = 0 if total > sum(strips - row for row in range(i)) else 2
    for i, j in done:
        state[i, j] = 1
    ax = new_axes(ax)
    tile_map(ax, state, ("to do", "compared", "settled before"), (_FAR, _NEAR, "#bfe3cc"))
    ax.set(xlabel="strip of images", ylabel="strip of images")
    return titled(ax, f"{len(done):,} of {counted(total, 'tile')} compared")


def difference(run: RunLike, a: int, b: int, ax: Axes | None = None) -> Axes:
    """Two images, by their ids, side by side, b turned as it is nearest; and where they differ.

    That is by pixel the squared difference, whose mean is the MSE. UsageError where one of the two was not read.
    """
    ids = known_ids([a, b], len(run.images))
    if run.images["status"].take(ids).to_pylist() != ["ok", "ok"]:
        raise UsageError(f"images {a} and {b} have no difference: one of them was not read")
    thumbs = run.thumbs_of(ids)
    found = difference_of(thumbs[0], thumbs[1], run.config.orientations)
    row = {"a": a, "b": b, "mse": found.mse, "orientation": found.turn}
    return _draw_pair(run, row, new_axes(ax, 7.2, 3.0))


def save(run: RunLike, folder: StrPath, most: int = MOST, reporter: Reporter | None = None) -> Plots:
    """Save a plot of each pair at or under the threshold as FOLDER/a-b.png, the most alike first, `most` of them.

    What is there already is not drawn again, so that it goes on where it stopped. Says how many were drawn, how many
    were there and how many were left out. UsageError where the folder lies beside the photos, or holds another's file.
    """
    figure = Figure(figsize=(7.2, 3.0))
    ax = figure.add_axes((0.01, 0.2, 0.98, 0.7))

    def draw(row: Mapping[str, Any], of: str) -> bytes:
        for artist in (*ax.images, *ax.texts):  # clearing the Axes would take half of the time
            artist.remove()
        _draw_pair(run, row, ax)
        return png(figure, {"Software": DRAWN_BY, "Description": of})

    return save_plots(run, folder, most, draw, reporter)


def _two_way(table: Any, first: str, second: str) -> tuple[list[str], Float64s]:
    """The names in two columns, in order, and their matrix (k, k): percent_a of a in b, percent_b of b in a, else 0."""
    needed = {first, second, "percent_a", "percent_b"}
    if not isinstance(table, pa.Table) or not needed <= set(table.column_names):
        raise UsageError(
            "this heat map takes what dupegrid.folders or dupegrid.leakage gives, "
            f"a pyarrow table with the columns {', '.join(sorted(needed))}"
        )
    rows = table.select([first, second, "percent_a", "percent_b"]).to_pylist()
    names = list(dict.fromkeys(row[side] for row in rows for side in (first, second)))
    place = {name: k for k, name in enumerate(names)}
    percent = np.zeros((len(names), len(names)))
    for row in rows:
        a, b = place[row[first]], place[row[second]]
        percent[a, b], percent[b, a] = row["percent_a"], row["percent_b"]
    return names, percent


def _draw_pair(run: RunLike, row: Mapping[str, Any], ax: Axes) -> Axes:
    """A row of matches: a, b turned as it matches, and their squared difference by pixel."""
    a, b = _pair(run, row)
    squared = np.square(a.astype(np.float64) - b).mean(axis=2)
    step = 1 + _GAP
    ax.imshow(a, extent=(0, 1, 0, 1))
    ax.imshow(b, extent=(step, step + 1, 0, 1))
    ax.imshow(squared, extent=(2 * step, 2 * step + 1, 0, 1), cmap="inferno", vmin=0, vmax=max(squared.max(), 1e-9))
    ax.set(xlim=(0, 2 * step + 1), ylim=(0, 1), aspect="equal")
    ax.set_axis_off()
    lines = []
    for side in ("a", "b"):
        image = {name: run.images[name][row[side]].as_py() for name in ("path_raw", "width", "height", "size_bytes")}
        name = short(display_path(image["path_raw"].rsplit(b"/", 1)[-1]))
        lines.append(f"{row[side]}: {name}\n{image['width']} × {image['height']}, {size_text(image['size_bytes'])}")
    lines[1] += "" if row["orientation"] == "identity" else f"\n{row['orientation']}"
    lines.append(f"squared difference\n{row['mse']:.4g} in the mean, at most {squared.max():,.0f}")
    named(ax.text(k * step + 0.5, -0.04, line, ha="center", va="top", fontsize=8) for k, line in enumerate(lines))
    return titled(ax, f"MSE {row['mse']:.4g}", y=1.02)


def _pair(run: RunLike, row: Mapping[str, Any]) -> tuple[Pixels, Pixels]:
    """The thumbnails of a row of matches, uint8 (S, S, 3) each, the second one turned as it matches."""
    thumbs = run.thumbs_of(np.array([row["a"], row["b"]]))
    return thumbs[0], turned(thumbs[1:], row["orientation"])[0]


def _power_of_ten(number: float) -> float:
    """The one at or under a number."""
    return float(10.0 ** np.floor(np.log10(number)))
