"""A run as a notebook draws it: a line of facts, and sections that fold; no script."""

from collections.abc import Callable
from html import escape
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.config import Config
from dupegrid.core.errors import DupegridError
from dupegrid.core.text import counted, quantity, shown, size_text
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import counted_files
from dupegrid.results.drawn.notebook import Html, picture, table_of
from dupegrid.results.freed import freed_of
from dupegrid.results.run_like import RunLike, measure

_CLUSTERS: Final = 5
_FAILURES: Final = 10
_BARS: Final = 48
_WIDTH, _HEIGHT = 360, 90
_NEXT: Final = (
    "run.show(0)            # the largest cluster\n"
    "run.pairs().show(20)   # the pairs that are most alike\n"
    "run.at(20)             # what another threshold says\n"
    "dupegrid.plots.thresholds(run)"
)


def run_html(run: RunLike) -> str:
    """A run as HTML. What is not there yet, or is damaged, is a section that says so."""
    sections = [
        _section("Matches", lambda: _matches(run), is_open=True),
        _section("Clusters", lambda: _clusters(run)),
        _section("Images", lambda: _images(run)),
        _section("How the pairs were decided", lambda: _receipt(run)),
        _section("Settings", lambda: _settings(run.config)),
        _section("Go on with", lambda: ("", f"<pre>{escape(_NEXT)}</pre>")),
    ]
    return (
        "<div style='font:13px/1.5 system-ui,sans-serif'>"
        f"<div><b>dupegrid.Run</b> <bdi>{escape(shown(run.path))}</bdi></div>{_line(run)}{''.join(sections)}</div>"
    )


def _line(run: RunLike) -> str:
    facts = []
    try:
        files = counted_files(run.images["status"])
        facts.append(f"{counted(files.found, 'file')}, {counted(files.ok, 'picture')} read")
        facts.append(f"{quantity(run.receipt.pairs['total'])} pairs")
        rows, threshold = run.clusters, run.config.threshold
        duplicates = pc.sum(pc.equal(rows["role"], "duplicate")).as_py() or 0
        size = size_text(freed_of(run.images, rows).sum())
        facts.append(f"{counted(duplicates, 'duplicate')} at {measure(run.config)} {threshold:g}, {size} in them")
    except DupegridError:
        facts.append("not finished")
    return f"<div>{escape('; '.join(facts))}</div>"


def _section(title: str, draw: Callable[[], tuple[str, str]], is_open: bool = False) -> str:
    """One that folds: `draw` gives what stands beside its title, as text, and what is in it, as HTML."""
    try:
        beside, inside = draw()
    except DupegridError as error:
        beside, inside = "", f"<p>{escape(str(error))}</p>"
    summary = f"<summary><b>{escape(title)}</b> {escape(beside)}</summary>"
    return f"<details{' open' if is_open else ''}>{summary}<div style='margin-left:18px'>{inside}</div></details>"


def _matches(run: RunLike) -> tuple[str, str]:
    matches, threshold = run.match_batches, run.config.threshold
    beside = f"{matches.near(threshold).count():,} at or under {threshold:g}, {matches.count():,}"
    return f"{beside} up to {run.config.cutoff:g}", _histogram(matches, run.config)


def _clusters(run: RunLike) -> tuple[str, str]:
    rows = run.clusters
    count, bridges = len(pc.unique(rows["cluster"])), pc.sum(pc.equal(rows["role"], "bridge")).as_py() or 0
    first = rows.filter(pc.less(rows["cluster"], _CLUSTERS))
    keepers = first.filter(pc.equal(first["role"], "keep"))
    ids = keepers["image"].to_numpy()
    images = run.images.select(["path_raw", "width", "height"]).take(pa.array(ids)).to_pylist()
    sizes = np.bincount(first["cluster"].to_numpy(), minlength=len(ids))
    drawn = [Html(picture(image, thumb, 48)) for image, thumb in zip(images, run.thumbs_of(ids), strict=True)]
    listed = zip(keepers["cluster"].to_pylist(), sizes.tolist(), drawn, keepers["path"].to_pylist(), strict=True)
    table = table_of(("cluster", "pictures", "to keep", ""), listed) if count else ""
    more = f"<div>… and {count - len(ids):,} more: run.clusters</div>" if count > len(ids) else ""
    return f"{count:,}, with {counted(bridges, 'bridge')}", table + more


def _images(run: RunLike) -> tuple[str, str]:
    rows = run.images
    formats = pc.value_counts(rows["format"].drop_null()).to_pylist()
    kinds = table_of((), ((entry["values"], entry["counts"]) for entry in sorted(formats, key=lambda e: -e["counts"])))
    failed = rows.filter(pc.not_equal(rows["status"], "ok")).select(["path", "status", "error"])
    why = table_of(("not read", "status", "why"), (row.values() for row in failed.slice(0, _FAILURES).to_pylist()))
    more = len(failed) - _FAILURES
    left = f"<div>… and {more:,} more: run.images</div>" if more > 0 else ""
    size = size_text(pc.sum(rows["size_bytes"]).as_py() or 0)
    beside = f"{len(rows):,}, {size}, {len(failed):,} not read"
    return beside, kinds + (why + left if len(failed) else "")


def _receipt(run: RunLike) -> tuple[str, str]:
    pairs = dict(run.receipt.pairs)
    total = pairs.pop("total")
    return f"{total:,}", table_of((), ((name, f"{count:,}") for name, count in pairs.items() if count))


def _settings(config: Config) -> tuple[str, str]:
    values = config.model_dump(exclude_defaults=True)
    rows = [(name, ", ".join(map(str, value)) if isinstance(value, tuple) else value) for name, value in values.items()]
    return "other than the defaults", table_of((), rows)


def _histogram(matches: Matches, config: Config) -> str:
    """How many pairs have which score, as SVG: by the logarithm both ways, those of 0 at the left."""
    threshold, cutoff = config.threshold, config.cutoff
    if not matches.count():
        return "<p>none</p>"
    has_zero = any((batch.score == 0).any() for batch in matches)
    lowest = min(batch.score[batch.score > 0].min(initial=cutoff or 1.0) for batch in matches)
    least = max(float(lowest), (cutoff or 1.0) * 1e-4)
    edges = np.geomspace(least, max(cutoff, least * 10), _BARS)
    counts = np.zeros(_BARS + 1, np.int64)
    for batch in matches:
        counts += np.bincount(np.searchsorted(edges, batch.score, side="left"), minlength=_BARS + 1)
    step = _WIDTH / len(counts)
    top = np.log1p(counts.max())
    bars = []
    for k in np.flatnonzero(counts).tolist():
        height = max(2.0, _HEIGHT * float(np.log1p(counts[k]) / top))
        colour = "fill='#1a8f4a'" if edges[min(k, _BARS - 1)] <= threshold else "fill='currentColor' opacity='.35'"
        place = f"x='{k * step:.1f}' y='{_HEIGHT - height:.1f}' width='{step - 1:.1f}' height='{height:.1f}'"
        bars.append(f"<rect {place} {colour}><title>{counts[k]:,}</title></rect>")
    cut = min(_WIDTH, (1 + float(np.searchsorted(edges, threshold, side="right") - 1)) * step + step)
    line = f"<line x1='{cut:.1f}' x2='{cut:.1f}' y1='0' y2='{_HEIGHT}' stroke='#c23b22'/>"
    ends = ((0, "start", f"{measure(config)} {0 if has_zero else least:.3g}"), (_WIDTH, "end", f"{edges[-1]:,.4g}"))
    style = f"y='{_HEIGHT + 14}' font-size='11' fill='currentColor'"
    words = "".join(f"<text x='{x}' text-anchor='{anchor}' {style}>{escape(text)}</text>" for x, anchor, text in ends)
    size = f"width='{_WIDTH}' height='{_HEIGHT + 18}' viewBox='0 0 {_WIDTH} {_HEIGHT + 18}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'>{''.join(bars)}{line}{words}</svg>"
