"""The name of a scheduler -> something that computes dask collections."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Protocol

import dask
import dask.multiprocessing
import dask.threaded
from dask.callbacks import Callback
from threadpoolctl import ThreadpoolController

from dupegrid.core.dask_cluster import GO_ON, dask_cluster, flat
from dupegrid.core.errors import DupegridError
from dupegrid.core.spawned import Spawn, check_main, safe_path, start_worker_process

# Tasks at work are waited for so long after one of them has failed, and after a signal.
_PATIENCE_S: Final = 10.0
_STOP_S: Final = 1.0


class Runtime(Protocol):
    """Computes the blocks of a dask collection, calling back in this thread as each one is finished."""

    workers: int

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """ConfigError where a worker does not see what this process sees: the lock of a run, `samples` of each root."""
        ...

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        """Compute every block of a dask bag or array; `on_block` gets each result, in the order of finishing."""
        ...


@contextmanager
def runtime(scheduler: str, workers: int | None = None) -> Iterator[Runtime]:
    """A runtime by name: sync, threads, processes, local (a cluster of processes here) or the address of a cluster.

    ConfigError when no scheduler answers at the address, or where this program cannot start processes.
    """
    count = workers or len(os.sched_getaffinity(0))
    if scheduler == "sync":
        with one_blas_thread():
            yield _Local(dask.get, 1)
    elif scheduler == "threads":
        # One BLAS thread each: two layers of threads fight for the same cores.
        with one_blas_thread(), _threads(count) as pool:
            yield _Local(partial(dask.threaded.get, pool=pool), count, pool)
    elif scheduler == "processes":
        check_main(scheduler)
        with _processes(count) as pool:
            # dask would hand out tasks by six, and some processes would have none.
            get = partial(dask.multiprocessing.get, pool=pool, chunksize=1, optimize_graph=False)
            yield _Local(get, count, pool)
    else:
        with dask_cluster(scheduler, count) as cluster:
            yield cluster


class _Pool:
    """An executor, as dask takes one, whose tasks can be called off."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._max_workers = workers  # dask asks for it by this name
        self._executor = executor
        self._given: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Hand out a task."""
        future = self._executor.submit(function, *args)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def call_off(self, patience_s: float) -> None:
        """Cancel the tasks that have not started, and wait for those at work, for so long."""
        wait([future for future in list(self._given) if not future.cancel()], patience_s)


@contextmanager
def _threads(count: int) -> Iterator[_Pool]:
    """Threads of our own: those that dask keeps are lacking in a process that was forked after it used them."""
    executor = ThreadPoolExecutor(count)
    try:
        yield _Pool(executor, count)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)  # tasks at work have been waited for
        raise
    executor.shutdown()


@contextmanager
def _processes(count: int) -> Iterator[_Pool]:
    context = Spawn()
    with safe_path():  # it starts a process that tracks its semaphores
        executor = ProcessPoolExecutor(count, context, initializer=_start_worker_process)
    try:
        yield _Pool(executor, count)
    except BaseException:
        context.kill()  # they would be waited for
        raise
    finally:
        executor.shutdown(cancel_futures=True)


class _Local:
    """dask's own schedulers: in this thread, in threads, or in a pool of processes."""

    def __init__(self, get: Callable[..., Any], workers: int, pool: _Pool | None = None) -> None:
        self.workers = workers
        self._get = get
        self._pool = pool

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """Nothing: they see what this process sees."""

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        outputs = flat(collection.__dask_keys__())
        wanted = set(outputs)

        def posttask(key: Any, result: Any, _graph: Any, _state: Any, _worker: Any) -> None:
            if key in wanted:
                on_block(result)

        # Given, as those that are registered serve all threads at once, and dask takes them away while it computes.
        callbacks = [*Callback.active, (None, None, None, posttask, None)]
        try:
            self._get(dict(collection.__dask_graph__()), outputs, callbacks=callbacks)
        except BrokenExecutor:
            raise DupegridError(f"a worker process died; {GO_ON}") from None
        except BaseException as error:
            if self._pool is not None:
                self._pool.call_off(_PATIENCE_S if isinstance(error, Exception) else _STOP_S)
            raise


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
                self._limits = _blas().limit(limits=1, user_api="blas")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limits.restore_original_limits()
                self._limits = None


_one_blas_thread = _OneBlasThread()
os.register_at_fork(after_in_child=_one_blas_thread.forked)


def one_blas_thread() -> _OneBlasThread:
    """One BLAS thread in each of ours, while the context lasts."""
    return _one_blas_thread


@cache
def _blas() -> ThreadpoolController:
    """numpy's BLAS among the libraries that are loaded; looking for them takes a while."""
    return ThreadpoolController()


def _start_worker_process() -> None:
    start_worker_process()
    one_blas_thread().__enter__()
