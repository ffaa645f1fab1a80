"""What a run would cost, before it is started: from a few seconds of decoding and multiplying here."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from dask.system import CPU_COUNT

from dupegrid.app.scale import Rates, Scale, scale
from dupegrid.core.arrays import CHOICES
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.config import Config
from dupegrid.core.errors import ConfigError
from dupegrid.images.chunk import decoded_of
from dupegrid.images.decoder import File
from dupegrid.images.discover import Listing, discover
from dupegrid.images.facts import reading_of
from dupegrid.images.found import FoundFiles
from dupegrid.images.levels import prefixes
from dupegrid.images.sources import Sources
from dupegrid.pairs.kernel import candidates, left_operand, right_operand
from dupegrid.results.answers import Answer

_SAMPLE: Final = 200  # files decoded
_DECODE_S: Final = 3.0  # at most, for all of them
_POINTS: Final = 6000
_USUAL_PER_S: Final = 430  # photos of 0.2 megapixels a core, where there are no files to try with,
_USUAL_BYTES: Final = 114_000  # and their size


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
    memory_bytes: int  # of the process that needs most: the client, or each worker
    disk_bytes: int
    scale: Scale  # by the model of docs/scale.md, from these rates


def estimate(config: Config, images: int | None = None, gpus: int = 0) -> Estimate:
    """What a run of this configuration would cost; or on so many `images`, like those files or, of none, usual photos.

    Rates are those of the cores here; the hours of the model are of `config.workers` such cores, and of `gpus` GPUs.
    """
    if min(gpus, 0 if images is None else images) < 0:
        raise ConfigError("images and gpus are counts: give numbers that are not below 0")
    nowhere = images is not None and not config.roots
    listing = Listing(FoundFiles().listed(config)) if nowhere else discover(config)
    cores, files = CPU_COUNT, len(listing.files)
    workers, orientations = config.workers or cores, CHOICES[config.orientations]
    here = min(workers, cores)
    sizes = int(np.sum(listing.files.columns["size_bytes"], dtype=np.float64))
    count = files if images is None else images
    files_per_s = _decode_rate(listing, config, here) if files else _USUAL_PER_S * here
    pairs_per_s = _product_rate(here)
    views = len(config.looks)  # each is a thumbnail that is compared with all others
    file_bytes = sizes // files if files else _USUAL_BYTES
    rates = Rates(max(files_per_s / here, 1e-3) * views, pairs_per_s / here, file_bytes // views)
    model = replace(scale(count * views, rates, workers, gpus, config.orientations, config.thumb), images=count)
    files_per_s, pairs_per_s = files_per_s * workers / here, pairs_per_s * workers / here / len(orientations)
    return Estimate(
        images=count,
        bytes_read=sizes if images is None else model.bytes_read,
        pairs=model.pairs,
        images_per_s=round(files_per_s, 1),
        pairs_per_s=round(pairs_per_s),
        index_hours=round(count / files_per_s / 3600, 4) if files_per_s else 0.0,
        compare_hours_at_most=round(model.pairs / pairs_per_s / 3600, 4),
        memory_bytes=max(model.client_bytes, model.report_bytes, model.worker_bytes),
        disk_bytes=model.disk_bytes,
        scale=model,
    )


def _decode_rate(listing: Listing, config: Config, workers: int) -> float:
    """Files a second, by an evenly spaced sample of them."""
    step = max(1, len(listing.files) // _SAMPLE)
    rows = listing.files.at(np.arange(0, len(listing.files), step)).to_pylist()
    sample = [File(*(row[name] for name in File._fields)) for row in rows]

    def decode(files: Sequence[File]) -> int:
        done, end = 0, time.perf_counter() + _DECODE_S
        with closing(decoded_of(files, Sources.of(config), reading_of(config), config.file_timeout)) as found:
            for _ in found:
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
    points = np.random.default_rng(0).normal(0, 1000, (_POINTS, prefixes(64)[0])).astype(np.float32)
    right = right_operand(points)
    left = left_operand(right)
    blocks = range(0, _POINTS, 128)
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda k: candidates(left[k : k + 128], right, 0.0), blocks))
        start = time.perf_counter()
        list(pool.map(lambda k: candidates(left[k : k + 128], right, 0.0), blocks))
    return _POINTS * _POINTS / (time.perf_counter() - start)
