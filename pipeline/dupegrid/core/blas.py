"""One BLAS thread in each of ours: two layers of threads fight for the same cores."""

import os
import threading
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneBlasThread:
    """One BLAS thread in each of ours while anybody wants it: the first one sets it, the last one takes it back."""

    def __init__(self) -> None:
        self._limits: Any = None
        self.forked()

    def forked(self) -> None:
        """Forget the threads that a forked process has not; the limits stay, to be taken back by its own."""
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._limits is None:
                _heed_this_thread()
                self._limits = _blas().limit(limits=1, user_api="blas")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                _heed_this_thread()
                self._limits.restore_original_limits()
                self._limits = None
                _heed_this_thread()


_one_blas_thread = _OneBlasThread()
os.register_at_fork(after_in_child=_one_blas_thread.forked)


def one_blas_thread() -> _OneBlasThread:
    """One BLAS thread in each of ours, while the context lasts."""
    return _one_blas_thread


@cache
def _blas() -> ThreadpoolController:
    """numpy's BLAS among the libraries that are loaded; looking for them takes a while."""
    return ThreadpoolController()


def _heed_this_thread() -> None:
    """From threadpoolctl 3.8 on only the thread that was first can set OpenBLAS, and the others do nothing, unsaid."""
    for library in _blas().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
