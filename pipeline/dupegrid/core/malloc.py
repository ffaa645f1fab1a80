"""Memory that was touched once is used again, in processes that do nothing but tasks.

dask's nanny starts workers with MALLOC_TRIM_THRESHOLD_=65536, which in glibc also keeps the mmap threshold at 128 kB
(mallopt(3), distributed#3898): each array of a tile is mapped, touched and unmapped again, at 2 to 3 times the work.
"""

import ctypes
import os
from collections.abc import Mapping
from functools import cache
from typing import Final

TRIM_VARIABLE: Final = "MALLOC_TRIM_THRESHOLD_"
_TRIM_THRESHOLD: Final = -1  # of malloc.h
_MMAP_THRESHOLD: Final = -3


@cache
def keep_memory(most_bytes: int = 1 << 30) -> None:
    """Have glibc's malloc keep what is freed, up to a limit, in this process. Other C libraries stay as they are."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, most_bytes)
    mallopt(_MMAP_THRESHOLD, most_bytes)


def without_trimming(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without what makes malloc give memory back all the time, for a process that we start."""
    return {name: value for name, value in environment.items() if name != TRIM_VARIABLE}
