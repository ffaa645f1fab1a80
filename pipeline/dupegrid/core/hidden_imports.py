"""What processes of ours do first: those of the command and of a pool, in which nobody else's code counts on pandas."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pyarrow as pa

_light = False  # whether this is such a process


class _Hidden:
    """Where Python looks for modules first: some are not found there, and not looked for any further."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._names:
            raise ModuleNotFoundError(name)


@contextmanager
def _hiding(*names: str) -> Iterator[None]:
    hidden = _Hidden(names)
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)


def without_pandas() -> None:
    """Have pyarrow take pandas for absent, which is 0.4 s sooner where it is installed.

    pyarrow loads it at the first list that becomes a column, to see whether that is of pandas, and remembers. Whoever
    asks pyarrow for a dataframe gets one all the same.
    """
    global _light
    _light = True
    with _hiding("pandas"):
        pa.array([None])


@contextmanager
def lightly() -> Iterator[None]:
    """Have libraries that are loaded meanwhile take some others for absent in such a process, which they do without.

    dask.array is there 0.5 s sooner without scipy, and 0.6 s without xarray; numba 0.1 s without scipy and cffi.
    """
    with _hiding("scipy", "xarray", "cffi") if _light else nullcontext():
        yield
