"""The name of a scheduler, or a dask Client -> something that does a task for each of many items."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import dask
import dask.multiprocessing
import dask.threaded
from dask.callbacks import Callback
from dask.utils import funcname

from dupegrid.core.arrays import gpus
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.dask_cluster import GO_ON, dask_cluster, handed_over
from dupegrid.core.errors import DupegridError
from dupegrid.core.spawned import Spawn, check_main, safe_path, start_worker_process
from dupegrid.core.start import without_pandas
from dupegrid.core.tasks import Items, Task, collection

# Tasks at work are waited for so long after one of them has failed, and after a signal.
_PATIENCE_S: Final = 10.0
_STOP_S: Final = 1.0


class Runtime(Protocol):
    """Does a task for each of many items on its workers, by dask."""

    workers: int

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """ConfigError where a worker does not see what this process sees: the lock of a run, `samples` of each root."""
        ...

    def each(self, task: Task, items: Items, on_done: Callable[[Any], None]) -> None:
        """Call `task(item)` on a worker for every item, and `on_done(result)` in this thread as each one is finished.

        The items of a list are the partitions of a dask bag; the rows of a numpy array are the blocks of a dask array.
        They are started in the order in which they are given, as many at once as there are workers.
        """
        ...


@contextmanager
def runtime(scheduler: str, workers: int | None = None, client: Any = None) -> Iterator[Runtime]:
    """A runtime by name: sync, threads, processes, local (a cluster of processes here) or the address of a cluster.

    For gpu it is threads, as files are decoded on the cores; what compares is `comparing`.
    A dask.distributed Client that is handed over is taken instead, and left open. ConfigError when no scheduler answers
    at the address, when the Client cannot be used, or where this program cannot start processes.
    """
    count = workers or len(os.sched_getaffinity(0))
    if client is not None:
        with handed_over(client) as cluster:
            yield cluster
    elif scheduler == "sync":
        with one_blas_thread():
            yield _Local(dask.get, 1)
    elif scheduler in ("threads", "gpu"):
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


@contextmanager
def comparing(here: Runtime, scheduler: str) -> Iterator[Runtime]:
    """The runtime that compares: for gpu a cluster of one process for each GPU, where there are any; else `here`."""
    if scheduler != "gpu" or not isinstance(here, _Local) or not gpus():
        yield here
    else:
        with dask_cluster(scheduler, len(gpus())) as cluster:
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

    def each(self, task: Task, items: Items, on_done: Callable[[Any], None]) -> None:
        def posttask(_key: Any, part: Any, _graph: Any, _state: Any, _worker: Any) -> None:
            on_done(part[0])

        tasks = collection(funcname(task), task, items)
        # Given, as those that are registered serve all threads at once, and dask takes them away while it computes.
        callbacks = [*Callback.active, (None, None, None, posttask, None)]
        try:
            self._get(dict(tasks.__dask_graph__()), tasks.__dask_keys__(), callbacks=callbacks)
        except BrokenExecutor:
            raise DupegridError(f"a worker process died; {GO_ON}") from None
        except BaseException as error:
            if self._pool is not None:
                self._pool.call_off(_PATIENCE_S if isinstance(error, Exception) else _STOP_S)
            raise


def _start_worker_process() -> None:
    start_worker_process()
    without_pandas()
    one_blas_thread().__enter__()
