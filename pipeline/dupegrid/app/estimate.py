"""What a run would cost, before it is started: from a few seconds of decoding and multiplying here."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from dupegrid.core.arrays import CHOICES
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.config import Config
from dupegrid.images.chunk import decoded_of
from dupegrid.images.decoder import File
from dupegrid.images.discover import Listing
from dupegrid.images.facts import reading_of
from dupegrid.images.fetching import fetched
from dupegrid.images.levels import level_shapes
from dupegrid.images.sources import Sources
from dupegrid.pairs.bounds import COMPONENTS
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.pairs.sort import sorted_shapes
from dupegrid.results.answers import Answer

_SAMPLE: Final = 200  # files decoded
_DECODE_S: Final = 3.0  # at most, for all of them
_POINTS: Final = 6000
_BYTES_PER_ROW: Final = 300  # of a file in all tables


@dataclass(frozen=True)
class Estimate(Answer):
    """What a run would cost, and the rates that it is reckoned from.

    The time to compare is that of multiplying every pair, so an upper bound: most are skipped in blocks. It leaves out
    the writing of matches, of which nobody knows how many there are.
    """

    images: int  # files found
    bytes_read: int
    pairs: int
    images_per_s: float
    pairs_per_s: int
    index_hours: float
    compare_hours_at_most: float
    memory_bytes: int
    disk_bytes: int


def estimate(listing: Listing, config: Config) -> Estimate:
    """What a run on these files would cost."""
    files = len(listing.files)
    workers = config.workers or CPU_COUNT
    files_per_s = _decode_rate(listing, config, workers)
    pairs_per_s = _product_rate(workers) / len(CHOICES[config.orientations])
    pairs = files * (files - 1) // 2
    orientations = CHOICES[config.orientations]
    stored_bytes = files * config.values_per_thumb + _bytes(level_shapes(files, config.thumb))
    sorted_bytes = _bytes(sorted_shapes(files, config.thumb, orientations))
    return Estimate(
        images=files,
        bytes_read=int(np.sum(listing.files["size_bytes"].to_numpy(), dtype=np.float64)),
        pairs=pairs,
        images_per_s=round(files_per_s, 1),
        pairs_per_s=round(pairs_per_s),
        index_hours=round(files / files_per_s / 3600, 4) if files_per_s else 0.0,
        compare_hours_at_most=round(pairs / pairs_per_s / 3600, 4),
        memory_bytes=300_000_000 + 600 * files + sorted_bytes,
        disk_bytes=files * _BYTES_PER_ROW + stored_bytes + sorted_bytes,
    )


def _bytes(shapes: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> int:
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())


def _decode_rate(listing: Listing, config: Config, workers: int) -> float:
    """Files a second, by an evenly spaced sample of them."""
    step = max(1, len(listing.files) // _SAMPLE)
    rows = listing.files.take(np.arange(0, len(listing.files), step)).to_pylist()
    sample = [File(*(row[name] for name in File._fields)) for row in rows]

    def decode(files: Sequence[File]) -> int:
        done, end = 0, time.perf_counter() + _DECODE_S
        with closing(fetched(files, Sources.of(config))) as batches:
            for _ in decoded_of(batches, reading_of(config), config.file_timeout):
                done += 1
                if time.perf_counter() > end:
                    break
        return done

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, [sample[:1]] * workers))  # starts the processes
        start = time.perf_counter()
        done = sum(pool.map(decode, [sample[k::workers] for k in range(workers)]))
    return done / (time.perf_counter() - start)


def _product_rate(workers: int) -> float:
    """Pairs a second of the product that rules most of them out."""
    points = np.random.default_rng(0).normal(0, 1000, (_POINTS, COMPONENTS)).astype(np.float32)
    right = right_operand(points)
    left = left_operand(right)
    blocks = range(0, _POINTS, 128)
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda k: candidates(left[k : k + 128], right, 0.0), blocks))
        start = time.perf_counter()
        list(pool.map(lambda k: candidates(left[k : k + 128], right, 0.0), blocks))
    return _POINTS * _POINTS / (time.perf_counter() - start)
