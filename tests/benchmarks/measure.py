"""The measurements; each gives rows for the table that `make bench` prints."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import dupegrid
from dupegrid import demo
from dupegrid.progress import quantity
from tests.benchmarks.collection import make_run
from tests.conftest import SHARED

Row = tuple[str, str, str, str]


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median time of some work."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def index(folder: Path, most: int = 300, repeats: int = 3) -> list[Row]:
    """Files a second of the index stage, beside a loop on all cores that only reads and decodes by the same recipe."""
    photos = SHARED / "data/photos"
    if not photos.is_dir():
        photos = folder / "drawn"
        demo.draw(photos, originals=max(20, most), each_kind=2)
    files = sorted(photos.iterdir())

    def bare(file: Path) -> None:
        try:
            image = Image.open(file)
            image.draft(None, (256, 256))
            image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC, reducing_gap=2)
        except OSError:
            pass

    def loop() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(bare, files))

    runs = iter(range(repeats))
    ours = seconds(lambda: dupegrid.index(photos, out=folder / f"index{next(runs)}", quiet=True), repeats)
    limit = seconds(loop, repeats)
    what = f"index {len(files)} files, hash, rows and start of the stage included"
    return [
        (
            what,
            f"{len(files) / ours:,.0f} files/s",
            f"{len(files) / limit:,.0f} files/s, only decoded",
            f"{limit / ours:.2f}",
        )
    ]


def compare(folder: Path, n: int, orientations: str, threshold: float, repeats: int = 3) -> list[Row]:
    """Pairs a second of the compare stage, beside the bare float32 product of the same thumbnails."""
    run = make_run(folder / f"compare{n}{orientations}", n, orientations=orientations, threshold=threshold)
    thumbs = dupegrid.open_run(run).thumbs[: min(n, 1024)].compute().reshape(-1, 64 * 64 * 3).astype(np.float32) - 128
    pairs = n * (n - 1) // 2

    def again() -> None:
        for name in ("receipt.json", "tiles.zarr/zarr.json"):
            (run / name).unlink(missing_ok=True)
        dupegrid.compare(run, quiet=True)

    ours = pairs / seconds(again, repeats)
    limit = len(thumbs) ** 2 / seconds(lambda: thumbs @ thumbs.T, repeats)
    what = f"compare {n:,} thumbnails, {orientations}, threshold {threshold:g}"
    return [(what, f"{quantity(ours)} pairs/s", f"{quantity(limit)} pairs/s, only multiplied", f"{ours / limit:.2f}")]


def table(rows: list[Row]) -> str:
    """The rows as a markdown table."""
    head = [("what", "dupegrid", "limit beside it", "ratio"), ("---",) * 4]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *rows])
