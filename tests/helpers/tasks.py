"""What tasks of tests call, in whatever process they are done: it loads next to nothing."""

import os
import resource
import time
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_info


def waited_until(condition: Callable[[], object], at_most_s: float = 60.0) -> None:
    end = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def blas_threads() -> list[int]:
    """Of each BLAS that is loaded; not of scipy's, which nothing of ours uses."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in blas if "scipy.libs" not in library["filepath"]]


def new_pages(size_bytes: int, times: int) -> int:
    """How many pages are touched anew by arrays that are made and freed so often, after a first one."""
    import numpy as np

    np.ones(size_bytes, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(size_bytes, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def index_chunk_or_die(*arguments: Any) -> int:
    """A chunk's task that kills its process if it is number 2."""
    from dupegrid.images.chunk import index_chunk

    if arguments[-1] == 2:
        os._exit(1)
    return index_chunk(*arguments)
