"""The measurements; each gives rows for the table that `make bench` prints."""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

import dupegrid
from dupegrid.app import demo
from dupegrid.core import runtime as runtime_module
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.text import counted, quantity, size_text
from dupegrid.pairs import compare as compare_module
from tests.benchmarks.collection import crops, sources
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


def collections(folder: Path, most: int) -> dict[str, Path]:
    """Folders of `most` files at most: photos, large photos and tiny pictures, real ones copied over and over."""
    data, found = SHARED / "data", {}
    if not data.is_dir():
        demo.draw(folder / "drawn", originals=max(20, most), each_kind=2)
        return {"drawn": folder / "drawn"}
    for name, many in (("photos", 10), ("large", 24)):
        copies = min(many, most)
        sources = sorted((data / name).iterdir())
        found[f"{name} (each {copies} times)"] = folder / name
        (folder / name).mkdir()
        for number in range(copies):
            for source in sources[: max(1, most // copies)]:
                shutil.copy(source, folder / name / f"{number:02d}-{source.name}")
    copies = min(6, most)
    files = progressive(data / "large", folder / "progressive", most // copies, copies)
    found |= {f"large, progressive (each {copies} times)": files}
    with tarfile.open(data / "cifar10-test.tar") as tar:
        members = list(islice((member for member in tar if member.isfile()), most))
        tar.extractall(folder / "cifar10", members, filter="data")
    return found | {"cifar10": folder / "cifar10"}


def progressive(photos: Path, folder: Path, most: int, copies: int) -> Path:
    """A folder of photos as progressive JPEGs of the same quality, each several times."""
    folder.mkdir()
    for source in sorted(photos.iterdir())[:most]:
        with Image.open(source) as image:
            image.load()
            first = folder / f"0-{source.name}"
            image.save(first, "JPEG", qtables=image.quantization, subsampling=2, progressive=True)
        for number in range(1, copies):
            shutil.copy(first, folder / f"{number}-{source.name}")
    return folder


def index(folder: Path, most: int = 10_000, repeats: int = 3) -> list[Row]:
    """Files a second of the index stage, beside a loop on all cores that only reads and decodes by the same recipe."""

    def bare(file: Path) -> None:
        with suppress(OSError):  # drawn ones hold a few that cannot be read
            image = Image.open(io.BytesIO(file.read_bytes()))
            image.draft(None, (256, 256))
            image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC, reducing_gap=2)

    def loop(files: list[Path]) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(bare, files))

    rows = []
    for name, collection in collections(folder, most).items():
        files = sorted(path for path in collection.rglob("*") if path.is_file() and path.suffix != ".txt")
        dupegrid.index(collection, out=folder / "first", quiet=True)  # starts the processes
        ours, limit = [], []
        for _ in range(repeats):  # in turn, as the machine is not always as fast
            shutil.rmtree(folder / "first")
            ours.append(seconds(partial(dupegrid.index, collection, out=folder / "first", quiet=True), 1))
            limit.append(seconds(partial(loop, files), 1))
        shutil.rmtree(folder / "first")
        our_s, limit_s = statistics.median(ours), statistics.median(limit)
        rates = f"{len(files) / our_s:,.0f} files/s", f"{len(files) / limit_s:,.0f} files/s, only decoded"
        rows.append((f"index {len(files):,} of {name}, hash and tables included", *rates, f"{limit_s / our_s:.2f}"))
    return rows


def incremental(folder: Path, n: int = 60_000, more: int = 1000, side: int = 128) -> list[Row]:
    """A run on n small files, and again with some more."""
    photos = folder / f"many{side}"

    def draw(first: int, count: int) -> None:
        for k, image in enumerate(crops(sources(), first, count, side)):
            place = photos / f"{(first + k) // 1000:03d}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{first + k:06d}.jpg", quality=90)

    draw(0, n)
    first = seconds(lambda: dupegrid.run(photos, out=folder / f"run{side}", quiet=True), 1)
    draw(n, more)
    again = seconds(lambda: dupegrid.run(photos, out=folder / f"run{side}", quiet=True), 1)
    return [
        (
            f"{more:,} files of {side} px added to {n:,}, all stages",
            f"{again:.1f} s",
            f"{first:.1f} s",
            f"{again / first:.3f}",
        )
    ]


def compare_seconds(run: Path, repeats: int = 3, **settings: object) -> float:
    """The median time of the compare stage from nothing, sorting and the receipt included."""

    def again() -> None:
        forget(run)
        dupegrid.compare(run, quiet=True, cutoff=settings["threshold"], **settings)

    again()
    os.sync()  # what the making of the collection left to be written is not ours
    return seconds(again, repeats)


def forget(run: Path) -> None:
    """Remove what the compare stage left."""
    for name in ("sorted.zarr", "tiles.zarr", "matches.parquet"):
        shutil.rmtree(run / name, ignore_errors=True)


def compare_peak_bytes(run: Path, **settings: object) -> int:
    """The most memory that a process holds which does nothing but compare."""
    forget(run)
    script = "import json, sys, dupegrid; dupegrid.compare(sys.argv[1], quiet=True, **json.loads(sys.argv[2])); "
    script += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # maxrss counts the parent's too
    command = [sys.executable, "-c", script, run, json.dumps({"cutoff": settings["threshold"], **settings})]
    return 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
    tiles, each = compare_module.compare_tile, runtime_module._Local.each

    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        done = tiles(*arguments)
        inside.append(time.perf_counter() - start)
        return done

    def timed_each(*arguments: object) -> object:
        start = time.perf_counter()
        aside = each(*arguments)
        scheduled.append(time.perf_counter() - start)
        return aside

    n = len(dupegrid.open_run(run).thumbs)
    pairs = n * (n - 1) // 2
    ours = compare_seconds(run, repeats, orientations=orientations, threshold=threshold)
    compare_module.compare_tile, runtime_module._Local.each = timed, timed_each
    try:
        compare_seconds(run, 1, orientations=orientations, threshold=threshold)
    finally:
        compare_module.compare_tile, runtime_module._Local.each = tiles, each
    limit = seconds(lambda: bare_product(n), repeats)
    receipt = dupegrid.open_run(run).receipt
    what = f"compare {n:,} thumbnails, {orientations}, threshold {threshold:g}"
    decided = ", ".join(f"{name} {quantity(receipt.pairs[name])}" for name in ("box", "product", "cosines", "exact"))
    outside = 1 - sum(inside) / (sum(scheduled) * (os.cpu_count() or 1))
    peak = compare_peak_bytes(run, orientations=orientations, threshold=threshold)
    rows = [
        (
            what,
            f"{quantity(pairs / ours)} pairs/s",
            f"{quantity(pairs / limit)} pairs/s, bare product",
            f"{limit / ours:.2f}",
        ),
        (
            f"- decided by: {decided}",
            counted(receipt.tiles, "tile"),
            counted(len(inside) // 2, "task"),
            f"{receipt.matches:,} matches",
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
