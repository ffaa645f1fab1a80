"""What tasks of tests call, in whatever process they are done: it loads next to nothing."""

import os
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
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def index_chunk_or_die(*arguments: Any) -> int:
    """A chunk's task that kills its process if it is number 2."""
    from dupegrid.images.chunk import index_chunk

    if arguments[-1] == 2:
        os._exit(1)
    return index_chunk(*arguments)
