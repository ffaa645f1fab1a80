"""Refuses to start where the libraries would crash for want of address space; imported before any of them is loaded."""

import resource
from typing import Final

_LEAST_BYTES: Final = 3_000_000_000  # numpy, BLAS, pyarrow and threads reserve it: with 2.0 GB six starts of six failed


def check_address_space() -> None:
    """End with one line where the limit on address space (ulimit -v) is too low; a crash would say nothing."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < _LEAST_BYTES:
        raise SystemExit(
            f"dupegrid: the limit on address space is {soft / 1e9:.1f} GB, and the libraries need "
            f"{_LEAST_BYTES / 1e9:.0f} GB: raise it (ulimit -v unlimited)"
        )


check_address_space()
