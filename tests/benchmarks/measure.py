"""The measurements; each gives rows for the table that `make bench` prints."""

import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import dupegrid
from dupegrid import demo
from dupegrid import runtime as runtime_module
from dupegrid.pairs import compare as compare_module
from dupegrid.progress import counted, quantity, size_text
from dupegrid.runtime import one_blas_thread
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


def compare_seconds(run: Path, repeats: int = 3, **settings: object) -> float:
    """The median time of the compare stage from nothing, sorting and the receipt included."""

    def again() -> None:
        for name in ("sorted.zarr", "tiles.zarr", "matches.parquet"):
            shutil.rmtree(run / name, ignore_errors=True)
        dupegrid.compare(run, quiet=True, cutoff=settings["threshold"], **settings)

    again()
    return seconds(again, repeats)


def bare_product(n: int, columns: int = 50) -> None:
    """The limit: a float32 product of as many columns with its threshold pass, each pair once, on all cores."""
    points = np.random.default_rng(0).normal(size=(n, columns)).astype(np.float32)

    def strip(start: int) -> None:
        for at in range(start, n, 8192):
            np.flatnonzero(points[start : start + 512] @ points[at : at + 8192].T <= -1e9)

    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(strip, range(0, n, 512)))


def compare(run: Path, orientations: str, threshold: float, repeats: int = 3) -> tuple[list[Row], float]:
    """The compare stage beside the bare product of as many pairs, with its counts; and its pairs a second."""
    inside: list[float] = []
    scheduled: list[float] = []
    tiles, compute = compare_module.compare_tile, runtime_module._Local.compute

    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        done = tiles(*arguments)
        inside.append(time.perf_counter() - start)
        return done

    def timed_compute(*arguments: object) -> None:
        start = time.perf_counter()
        compute(*arguments)
        scheduled.append(time.perf_counter() - start)

    n = len(dupegrid.open_run(run).thumbs)
    pairs = n * (n - 1) // 2
    ours = compare_seconds(run, repeats, orientations=orientations, threshold=threshold)
    compare_module.compare_tile, runtime_module._Local.compute = timed, timed_compute
    compare_seconds(run, 1, orientations=orientations, threshold=threshold)
    compare_module.compare_tile, runtime_module._Local.compute = tiles, compute
    limit = seconds(lambda: bare_product(n), repeats)
    counts = dupegrid.open_run(run).receipt
    what = f"compare {n:,} thumbnails, {orientations}, threshold {threshold:g}"
    decided = ", ".join(
        f"{name} {quantity(counts['pairs'][name])}" for name in ("box", "level_4", "level_8", "level_16", "exact")
    )
    outside = 1 - sum(inside) / (sum(scheduled) * (os.cpu_count() or 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = [
        (
            what,
            f"{quantity(pairs / ours)} pairs/s",
            f"{quantity(pairs / limit)} pairs/s, bare product",
            f"{limit / ours:.2f}",
        ),
        (
            f"- decided by: {decided}",
            counted(counts["tiles"], "tile"),
            counted(len(inside) // 2, "task"),
            f"{counts['matches']:,} matches",
        ),
        (
            "- share of the scheduler's time outside tiles",
            f"{outside:.0%}",
            f"peak memory {size_text(peak)}",
            f"{ours:.2f} s",
        ),
    ]
    return rows, pairs / ours


def table(rows: list[Row]) -> str:
    """The rows as a markdown table."""
    head = [("what", "dupegrid", "limit beside it", "ratio"), ("---",) * 4]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *rows])
