"""Tables of a run, made by hand: as many clusters as asked for, without a picture."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa

from dupegrid.core.config import Config
from dupegrid.results.answers import Summary
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.drawn.page import Found
from dupegrid.storage.schemas import IMAGES, MATCHES


def found(rows: Sequence[dict[str, object]], edges: Sequence[tuple[int, int, float]], threshold: float = 50) -> Found:
    """What a run of these images and pairs (a, b, mse) finds; what a row leaves out is that of a small picture."""
    common = {"status": "ok", "root": 0, "size_bytes": 1, "width": 100, "height": 80, "frames": 1, "mtime_ns": 0}
    images = [{**common, "path_raw": b"/p/%d.jpg" % id, "id": id, **row} for id, row in enumerate(rows)]
    for row in images:
        row["path"] = row["path_raw"].decode("utf-8", "backslashreplace")
    matches = [{"a": a, "b": b, "mse": mse, "score": mse, "orientation": "identity"} for a, b, mse in edges]
    return _found(pa.Table.from_pylist(images, IMAGES), pa.Table.from_pylist(matches, MATCHES), threshold)


def many(count: int) -> Found:
    """`count` clusters of two or three images, every fifth with a bridge that is joined through another."""
    rng = np.random.default_rng(count)
    ids = np.arange(3 * count)
    names = [f"/photos/{k % 12}/{k % 97}/IMG_{k:06d}.jpg" for k in ids]
    columns = {
        "id": ids,
        "path": names,
        "path_raw": [name.encode() for name in names],
        "size_bytes": rng.integers(100_000, 5_000_000, len(ids)),
        "width": np.full(len(ids), 4000),
        "height": np.full(len(ids), 3000),
        "mtime_ns": ids * 1_000_000_000,
        "status": ["ok"] * len(ids),
        "root": np.zeros(len(ids)),
        "frames": np.ones(len(ids)),
        "format": ["JPEG"] * len(ids),
    }
    filled = {field.name: columns.get(field.name, pa.nulls(len(ids), field.type)) for field in IMAGES}
    images = pa.table({name: pa.array(column).cast(IMAGES.field(name).type) for name, column in filled.items()})
    first = ids[::3]
    mse = rng.uniform(0, 50, 2 * count)
    chained = np.repeat(first % 5 == 0, 2)
    a = np.stack([first, first + (first % 5 == 0)], 1).ravel()
    b = np.stack([first + 1, first + 2], 1).ravel()
    kept = chained | (np.arange(2 * count) % 4 != 1)  # some of two only
    pairs = {"a": a[kept], "b": b[kept], "mse": mse[kept], "score": mse[kept]}
    matches = pa.table(pairs).append_column("orientation", pa.array(["identity"] * int(kept.sum())))
    return _found(images, matches, 50)


def _found(images: pa.Table, matches: pa.Table, threshold: float) -> Found:
    table = clusters(images, matches, threshold, Asked.of(Config(paths=["p"])))
    return Found(images, table, matches, None, threshold, files_here=False)


def summary(found: Found) -> Summary:
    """Numbers for a page: those of its tables, and 0 for what these do not say."""
    numbers = dict.fromkeys((field.name for field in fields(Summary)), 0)
    numbers |= {
        "run": "run",
        "report": "run/report.html",
        "failed": {},
        "relations": {},
        "unreadable_folders": [],
        "nothing_under": [],
        "already_there": None,
    }
    numbers |= {"images": len(found.images), "ok": len(found.images), "threshold": found.threshold}
    numbers |= {"clusters": len(set(found.clusters["cluster"].to_pylist()))}
    return Summary(**numbers)
