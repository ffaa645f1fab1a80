"""The name of a scheduler -> something that computes dask collections. The only file that knows distributed."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import dask
import dask.multiprocessing
import dask.threaded
from dask.callbacks import Callback
from distributed import Client, LocalCluster, as_completed
from threadpoolctl import threadpool_limits

from dupegrid.errors import ConfigError


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
        with threadpool_limits(1, user_api="blas"):
            yield _Local(dask.get, 1)
    elif scheduler == "threads":
        # One BLAS thread each: two layers of threads fight for the same cores.
        with threadpool_limits(1, user_api="blas"):
            yield _Local(partial(dask.threaded.get, num_workers=count), count)
    elif scheduler == "processes":
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, initializer=_one_blas_thread) as pool:
            yield _Local(partial(dask.multiprocessing.get, num_workers=count, pool=pool, optimize_graph=False), count)
    elif scheduler == "local":
        options = {
            "n_workers": count,
            "threads_per_worker": 1,
            "dashboard_address": None,
            "silence_logs": logging.ERROR,
        }
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            yield _Cluster(client)
    else:
        try:
            client = Client(scheduler, timeout=5)
        except (OSError, ValueError):
            raise ConfigError(f"no dask scheduler answers at {scheduler}: start one with 'dask scheduler'") from None
        with client:
            yield _Cluster(client)


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

        with Callback(posttask=posttask):
            self._get(dict(collection.__dask_graph__()), outputs)


class _Cluster:
    """A distributed cluster, ours or the user's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.workers = sum(client.nthreads().values()) or 1

    def compute(self, collection: Any, on_block: Callable[[Any], None]) -> None:
        graph = dict(collection.__dask_graph__())
        futures = self._client.get(graph, _flat(collection.__dask_keys__()), sync=False)
        for future in as_completed(futures):
            on_block(future.result())
            future.release()


def _flat(keys: Any) -> list[Any]:
    if isinstance(keys, list):
        return [key for part in keys for key in _flat(part)]
    return [keys]


def _one_blas_thread() -> None:
    threadpool_limits(1, user_api="blas")
