"""Files -> the hashes of their bytes: opened as the decoder opens them, and given up if they take too long."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Final

from dupegrid.core.config import Config
from dupegrid.core.progress import Reporter
from dupegrid.images.decoder import File
from dupegrid.images.fetching import fetched
from dupegrid.images.opening import open_listed
from dupegrid.images.sources import Sources

_READ_AT_ONCE_BYTES: Final = 1 << 20


def hashes_now(config: Config, reporter: Reporter, files: Sequence[tuple[bytes, int]]) -> list[str | None]:
    """The hashes of files that may be known ones."""
    found: list[str | None] = [None] * len(files)
    if not files:
        return found
    wanted = [File(path, size_bytes, 1) for path, size_bytes in files]
    with (
        reporter.stage("recognize", len(files), "files") as advance,
        closing(fetched(wanted, Sources.of(config))) as batches,
    ):
        for batch in batches:
            here = [(file.path_raw, file.size_bytes) for file in batch.files]
            hashes = hashes_of(here, config.follow_symlinks, config.file_timeout, advance)
            for place, hash_ in zip(batch.places, hashes, strict=True):
                found[place] = hash_
            advance(len(batch.failed))
    return found


def hashes_of(
    files: Sequence[tuple[bytes, int]], follow_symlinks: bool, timeout_s: float, advance: Callable[[int], None]
) -> list[str | None]:
    """The hashes, as in images.parquet, of files by path and size; None where a file cannot be read or is another.

    Once none of those in work has come to its end for `timeout_s`, all that are left have None.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4))
    try:
        tasks = [pool.submit(_hash, path, size, follow_symlinks, stop) for path, size in files]
        left: set[Future[str | None]] = set(tasks)
        while left:
            done, left = wait(left, timeout_s, FIRST_COMPLETED)
            advance(len(done))
            if not done:
                break
        return [None if task in left else task.result() for task in tasks]
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _hash(path: bytes, size_bytes: int, follow_symlinks: bool, stop: threading.Event) -> str | None:
    digest = hashlib.blake2b(digest_size=16)
    left = size_bytes
    try:
        with open(open_listed(path, follow_symlinks), "rb", buffering=0) as file:
            while not stop.is_set() and (data := file.read(min(left, _READ_AT_ONCE_BYTES - 1) + 1)):
                left -= len(data)
                if left < 0:
                    return None
                digest.update(data)
    except OSError:
        return None
    return digest.hexdigest() if left == 0 and not stop.is_set() else None
