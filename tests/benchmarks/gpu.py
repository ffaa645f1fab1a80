"""The kernels on a GPU beside one core of its machine: `python -m tests.benchmarks.gpu`; numpy and cupy are enough.

Both must give the same integers before anything is timed. Prints rows for RESULTS.md.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cupy
import numpy as np

from dupegrid.core.arrays import CHOICES
from dupegrid.pairs import kernel

SIDE = 64
wait = cupy.cuda.Device().synchronize


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median time of a call, one more left out."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def same_integers(images: Any, there: Any) -> None:
    """AssertionError unless the card gives what integers on the processor give."""
    wide = images.astype(np.int64)
    by_integers = ((wide[:8, None] - wide[None, :64]) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(cupy.asnumpy(kernel.sse_block(there[:8], there[:64])), by_integers)
    one_by_one = kernel.exact_sse(images[:64], images[64:128])
    np.testing.assert_array_equal(cupy.asnumpy(kernel.exact_sse(there[:64], there[64:128])), one_by_one)
    for choice in CHOICES.values():
        here = kernel.mse_block(images[:64], images[:256], choice)
        np.testing.assert_array_equal(cupy.asnumpy(kernel.mse_block(there[:64], there[:256], choice)), here)


def none_is_missing(points: Any, there: Any, limit: float) -> int:
    """How many candidates the card finds among points; AssertionError if it misses one within the limit."""
    right = kernel.right_operand(there)
    found = cupy.zeros((256, len(points)), bool)
    found[kernel.candidates(kernel.left_operand(right[:256]), right, limit)] = True
    wide = points.astype(np.float64)
    exact = np.stack([((row - wide) ** 2).sum(axis=1) for row in wide[:256]])
    assert cupy.asnumpy(found)[exact <= limit].all()
    return int(found.sum())


def row(label: str, pairs: int, work: Callable[[Any], Any], here: Any, there: Any) -> None:
    """Time the same work on both."""
    cpu, gpu = seconds(partial(work, here), 3), seconds(partial(work, there), 7)
    rates = [f"{pairs / spent_s / 1e6:,.1f} million pairs/s" for spent_s in (cpu, gpu)]
    print(f"| {label} | {rates[0]} | {rates[1]} | {cpu / gpu:.0f} |", flush=True)


def operands(points: Any) -> tuple[Any, Any]:
    """Those of the first 4,096 points with all."""
    right = kernel.right_operand(points)
    return kernel.left_operand(right[:4096]), right


def main() -> None:
    """Look whether both agree, and print the table."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2048, SIDE, SIDE, 3), np.uint8)
    points, limit = random.normal(0, 400, (65_536, 32)).astype(np.float32), 4e6
    there, points_there = cupy.asarray(images), cupy.asarray(points)
    card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    same_integers(images, there)
    print(f"{card}, cupy {cupy.__version__}, numpy {np.__version__}; the same integers in all orientations;")
    print(f"of 256 x 65,536 pairs {none_is_missing(points, points_there, limit):,} candidates, none missing")
    row("MSE of all pairs of 2,048 thumbnails of 64 px", 2048**2, lambda x: kernel.sse_block(x, x), images, there)
    row("integers, 2,048 pairs", 2048, lambda x: kernel.exact_sse(x, x[::-1]), images, there)
    both = operands(points), operands(points_there)
    row("first level, 4,096 x 65,536", 4096 << 16, lambda pair: kernel.candidates(*pair, limit), *both)
    moved_s = seconds(lambda: cupy.asarray(images), 7)
    print(f"thumbnails reach the card at {images.nbytes / moved_s / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
