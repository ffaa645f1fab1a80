"""The name of a scheduler -> something that computes dask collections. The only file that knows distributed."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import dask
import dask.multiprocessing
import dask.threaded
from dask.callbacks import Callback
from threadpoolctl import ThreadpoolController

from dupegrid.errors import ConfigError, DupegridError

if TYPE_CHECKING:
    from distributed import Client

_GO_ON = "what was finished is kept: run the same command again to go on"


class Runtime(Protocol):
    """Computes the blocks of a dask collection, calling back in this thread as each one is finished."""

    workers: int

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        """Compute every block of a dask bag or array; `on_block` gets each result, in the order of finishing."""
        ...


@contextmanager
def runtime(scheduler: str, workers: int | None = None) -> Iterator[Runtime]:
    """A runtime by name: sync, threads, processes, local (a cluster of processes here) or the address of a cluster.

    ConfigError when no scheduler answers at the address.
    """
    count = workers or len(os.sched_getaffinity(0))
    if scheduler == "sync":
        with one_blas_thread():
            yield _Local(dask.get, 1)
    elif scheduler == "threads":
        # One BLAS thread each: two layers of threads fight for the same cores.
        with one_blas_thread():
            yield _Local(partial(dask.threaded.get, num_workers=count), count)
    elif scheduler == "processes":
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, initializer=_start_worker_process) as pool:
            with _unseen_interrupts():
                pool.submit(os.getpid).result()
            get = partial(dask.multiprocessing.get, num_workers=count, pool=pool, optimize_graph=False)
            try:
                yield _Local(get, count)
            except BaseException as error:
                if not isinstance(error, Exception):  # a signal: the pool would be waited for
                    for child in multiprocessing.active_children():
                        child.kill()
                raise
    else:
        with _client(scheduler, count) as client:
            yield _Cluster(client)


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator["Client"]:
    """Of a cluster of our own, or of the user's."""
    from distributed import Client, LocalCluster  # here, as it takes a while and most runs do without it

    if scheduler == "local":
        options = {
            "n_workers": workers,
            "threads_per_worker": 1,
            "dashboard_address": ":0",
            "silence_logs": logging.CRITICAL,  # what fails is said in one line, here
            # The terminal sends SIGINT to all; only the parent answers.
            "preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
        }
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=5)
    except (OSError, ValueError):
        raise ConfigError(f"no dask scheduler answers at {scheduler}: start one with 'dask scheduler'") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError:
            raise ConfigError(f"no worker at {scheduler}: start some with 'dask worker {scheduler}'") from None
        yield client


@contextmanager
def _unseen_interrupts() -> Iterator[None]:
    """Processes started here do not see the SIGINT that a terminal sends to all; this one sees it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def one_blas_thread() -> AbstractContextManager[object]:
    """One BLAS thread in each of ours, while the context lasts."""
    limits: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limits


@cache
def _blas() -> ThreadpoolController:
    """numpy's BLAS among the libraries that are loaded; looking for them takes a while."""
    return ThreadpoolController()


class _Local:
    """dask's own schedulers: in this thread, in threads, or in a pool of processes."""

    def __init__(self, get: Callable[..., Any], workers: int) -> None:
        self.workers = workers
        self._get = get

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        outputs = _flat(collection.__dask_keys__())
        wanted = set(outputs)

        def posttask(key: Any, result: Any, _graph: Any, _state: Any, _worker: Any) -> None:
            if key in wanted:
                on_block(result)

        try:
            with Callback(posttask=posttask):
                self._get(dict(collection.__dask_graph__()), outputs)
        except BrokenExecutor:
            raise DupegridError(f"a worker process died; {_GO_ON}") from None


class _Cluster:
    """A distributed cluster, ours or the user's."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.workers = sum(client.nthreads().values()) or 1

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        from distributed import KilledWorker, as_completed
        from distributed.comm import CommClosedError

        graph = dict(collection.__dask_graph__())
        futures = self._client.get(graph, _flat(collection.__dask_keys__()), sync=False)
        try:
            for future in as_completed(futures):
                on_block(future.result())
                future.release()
        except (CancelledError, KilledWorker, CommClosedError) as error:
            raise DupegridError(f"the cluster was lost ({type(error).__name__}); {_GO_ON}") from None


def _flat(keys: Any) -> list[Any]:
    if isinstance(keys, list):
        return [key for part in keys for key in _flat(part)]
    return [keys]


def _start_worker_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; only the parent answers
    one_blas_thread()
