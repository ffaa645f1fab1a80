"""On a GPU: `python -m tests.benchmarks.gpu [IMAGES ...]`, by default 100,000 and 1,000,000; some minutes.

The tests marked gpu; the kernels beside one core; the products beside what the card can do; the whole comparison
beside the cores of the machine, whose tables must be equal to the last integer. Prints rows for RESULTS.md. Where there
is no cupy, `python -m tests.benchmarks.gpu numpy 20000` tries the same on numpy.
"""

import cProfile
import io
import os
import pstats
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import dupegrid
from dupegrid.core import arrays
from dupegrid.core.runtime import comparing, runtime
from dupegrid.core.text import quantity
from dupegrid.pairs import device, kernel, points
from tests.benchmarks.collection import make_run
from tests.benchmarks.measure import forget

SIDE = 64
NAME = "numpy" if "numpy" in sys.argv else "cupy"
SIZES = [int(word) for word in sys.argv[1:] if word.isdecimal()] or [100_000, 1_000_000]
LAST_S = 420  # after so many no other run is begun
BEGAN = time.perf_counter()
xp = arrays.named_module(NAME)


def wait() -> None:
    if NAME == "cupy":
        xp.cuda.Device().synchronize()


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median time of a call, one more left out."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def say(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def limits() -> tuple[float, float]:
    """What the card can do, measured: bytes a second, read or written, and float16 operations a second."""
    n, kind = (8192, np.float16) if NAME == "cupy" else (512, np.float32)
    a, b = xp.ones((n, n * 16), np.float32), xp.asarray(np.random.default_rng(0).random((n, n)).astype(kind))
    return 2 * a.nbytes / seconds(lambda: a.copy(), 5), 2 * n**3 / seconds(lambda: b @ b, 5)


def kernels() -> None:
    """The kernels, which give the same integers, beside one core."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2048, SIDE, SIDE, 3), np.uint8)
    there = xp.asarray(images)
    wide = images.astype(np.int64)
    by_integers = ((wide[:8, None] - wide[None, :64]) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(arrays.on_host(kernel.sse_block(there[:8], there[:64])), by_integers)
    one_by_one = kernel.exact_sse(images[:64], images[64:128])
    np.testing.assert_array_equal(arrays.on_host(kernel.exact_sse(there[:64], there[64:128])), one_by_one)
    for choice in arrays.CHOICES.values():
        here = kernel.mse_block(images[:64], images[:256], choice)
        np.testing.assert_array_equal(arrays.on_host(kernel.mse_block(there[:64], there[:256], choice)), here)
    say("kernel, in pairs/s", "one core", "the card", "ratio")
    say("---", "---", "---", "---")
    works: dict[str, tuple[int, Callable[[Any], Any]]] = {
        "MSE of all pairs of 2,048 thumbnails of 64 px": (2048**2, lambda x: kernel.sse_block(x, x)),
        "integers, 2,048 pairs": (2048, lambda x: kernel.exact_sse(x, x[::-1])),
        "mean absolute error, 16 x 2,048": (
            16 * 2048,
            lambda x: kernel.mae(*(y.reshape(len(y), -1) for y in (x[:16], x))),
        ),
    }
    for label, (pairs, work) in works.items():
        cpu, gpu = seconds(partial(work, images), 3), seconds(partial(work, there), 7)
        say(label, quantity(pairs / cpu), quantity(pairs / gpu), f"{cpu / gpu:.0f}")
    say("thumbnails to the card", "", f"{images.nbytes / seconds(lambda: xp.asarray(images), 7) / 1e9:.1f} GB/s", "")


def products(bytes_s: float, flops: float) -> None:
    """All pairs of points, as blocks are multiplied: how many a second, and the limits."""
    n = 65_536 if NAME == "cupy" else 4096
    some, within = np.round(np.random.default_rng(0).normal(0, 900, (n, 23))).astype(np.int16), 2_300.0
    starts = np.arange(0, n + 1, 512)
    left, right = points.operands(xp.asarray(some), starts, 512, within)
    rows, columns = (xp.asarray(numbers.ravel()) for numbers in np.indices((n // 512, n // 512)))
    square, x, y = points.near(left, right, rows, columns)
    first = square < n // 512  # the first block with all
    found = {(int(a), int(b)) for a, b in zip(x[first], square[first] * 512 + y[first], strict=True)}
    apart = ((some[:512, None].astype(np.float64) - some[None]) ** 2).sum(axis=2)
    exact = {(int(a), int(b)) for a, b in zip(*np.nonzero(apart <= within**2), strict=True)}
    assert exact <= found, "a pair is missing"
    pairs = n * n
    say(f"filter, {quantity(pairs)} pairs a call, {len(square):,} found; {len(found)} for {len(exact)}", "", "", "")
    whole_s = seconds(lambda: points.near(left, right, rows, columns), 9)
    if NAME == "cupy":
        bits = xp.empty((len(rows), 32, 64, 4), dtype=xp.uint32)
        sizes = (len(rows), 1), (256,), (left, right, rows, columns, xp.int32(512), bits)
        kernel_s = seconds(lambda: points._kernel(xp)(*sizes), 9)
        limit_s = max(64 * pairs / flops, pairs / 8 / bytes_s)
        say(
            "- the kernel", quantity(pairs / kernel_s), "limit", f"{quantity(pairs / limit_s)} {limit_s / kernel_s:.2f}"
        )
    say("- with what is found, in pairs/s", quantity(pairs / whole_s), "", "")


def compared(run: Path, **settings: Any) -> tuple[float, Any]:
    """The time of a comparison from nothing, of sorted images too, and the run."""
    forget(run)
    start = time.perf_counter()
    done = dupegrid.compare(run, threshold=50.0, cutoff=50.0, quiet=True, **settings)
    return time.perf_counter() - start, done


def engine(run: Path, orientations: str, bytes_s: float, flops: float) -> None:
    """The whole comparison on the cores, and on the card in three ways; the tables are equal."""
    cores = os.cpu_count() or 1
    total = matches = None
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"threads, {cores} cores", {"scheduler": "threads", "array": "numpy"}),
        ("gpu, its start included", {"scheduler": "gpu", "allow_cpu": True, "array": "numpy"}),
        ("the card, 4 threads here", {"scheduler": "threads", "workers": 4, "array": NAME}),
    ][: 3 if NAME == "cupy" else 2]
    for label, settings in ways:
        if time.perf_counter() - BEGAN > LAST_S:
            print("no time left for", label, flush=True)
            continue
        rounds = 2 if int(run.name[3:]) < 500_000 else 1
        spent = [compared(run, orientations=orientations, **{"workers": None, **settings}) for _ in range(rounds)]
        spent_s, done = min(spent, key=lambda pair: pair[0])
        if total is None:
            total, matches, before = done.receipt.pairs["total"], done.matches, done.receipt.matches
        assert done.matches.equals(matches), f"{label}: other matches"
        assert done.receipt.matches == before
        counts = {k: v for k, v in done.receipt.pairs.items() if k in ("box", "product", "cosines", "exact")}
        assert sum(counts.values()) == total
        decided = ", ".join(f"{name} {quantity(count)}" for name, count in counts.items())
        times = " and ".join(f"{pair[0]:.2f}" for pair in spent)
        say(f"{run.name[3:]}, {orientations}, {label}", f"{times} s", f"{quantity(total / spent_s)} pairs/s", decided)
    if matches is None:
        return
    say(f"- equal tables of {len(matches):,} matches", "", "", "")
    if time.perf_counter() - BEGAN < LAST_S:
        profiled(run, orientations, bytes_s, flops)


def profiled(run: Path, orientations: str, bytes_s: float, flops: float) -> None:
    """Where one thread with the card spends its time, and what the card had to do for it."""
    near, done = device._near_points, [0, 0, 0.0]

    def counted(tile: Any, squares: Any) -> Any:
        start = time.perf_counter()
        pairs = near(tile, squares)
        wait()
        done[0] += int(tile.turns(squares).sum()) * tile.first.side**2
        done[1] += 1
        done[2] += time.perf_counter() - start
        return pairs

    profile, text = cProfile.Profile(), io.StringIO()
    device._near_points = counted
    try:
        profile.enable()
        spent_s, _ = compared(run, orientations=orientations, scheduler="sync", array=NAME, workers=None)
        profile.disable()
    finally:
        device._near_points = near
    limit_s = max(done[0] / 8 / bytes_s, 64 * done[0] / flops, 1e-9)
    say(f"- one thread, profiled: {spent_s:.2f} s", f"{done[0]:.3g} products", f"{done[1]} calls", f"{done[2]:.2f} s")
    say("- its products, in pairs/s", quantity(done[0] / max(1e-9, done[2])), "limit", quantity(done[0] / limit_s))
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(16)
    print("\n".join(line for line in text.getvalue().splitlines()[7:] if line), flush=True)


def start() -> None:
    """How long a cluster of one worker a card takes to start, until its first task is done, and to end."""
    begin = time.perf_counter()
    with runtime("gpu", 2) as here, comparing(here, "gpu") as cluster:
        cluster.each(device._opened, ["cupy"], lambda _done: None)
        print(f"cluster up, first product: {time.perf_counter() - begin:.1f} s", end="; ")
        begin = time.perf_counter()
    print(f"down: {time.perf_counter() - begin:.1f} s", flush=True)


def tried(part: Callable[..., Any], *arguments: Any) -> None:
    """A part, whose failure is told and keeps none of the others."""
    print(f"\n## {part.__name__} at {time.perf_counter() - BEGAN:.0f} s", flush=True)
    try:
        part(*arguments)
    except Exception:
        traceback.print_exc(file=sys.stdout)


def tests() -> None:
    """The tests marked gpu."""
    options = ["-m", "gpu", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "-x", "--tb=short", "-rfE"]
    files = ["tests/pairs/test_kernel.py", "tests/conformance/test_device_cupy.py"]
    subprocess.run([sys.executable, "-m", "pytest", *options, *files], timeout=150, check=False)


def main() -> None:
    """All parts, the shortest first."""
    if NAME == "cupy":
        card = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"{card}, cupy {xp.__version__}, numpy {np.__version__}, {os.cpu_count()} cores", flush=True)
    bytes_s, flops = limits()
    print(f"it copies {bytes_s / 1e12:.2f} TB/s, read and written, and does {flops / 1e12:.1f} TFLOP/s in float16")
    if NAME == "cupy":
        tried(kernels)
    tried(products, bytes_s, flops)
    if NAME == "cupy":
        tried(tests)
        tried(start)
    arrays.give_back_memory(xp)  # workers are other processes
    with tempfile.TemporaryDirectory() as folder:
        for n in SIZES:
            begin = time.perf_counter()
            run = make_run(Path(folder) / f"run{n}", n)
            print(f"\n{n:,} thumbnails made in {time.perf_counter() - begin:.0f} s", flush=True)
            for orientations in ("none", "rotations"):
                tried(engine, run, orientations, bytes_s, flops)


if __name__ == "__main__":
    main()
