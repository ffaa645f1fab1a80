"""The name of a scheduler, or a dask Client -> something that does a task for each of many items."""

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import dask
import dask.multiprocessing
import dask.system
import dask.threaded
from dask.callbacks import Callback
from dask.utils import funcname

from dupegrid.core.arrays import gpus
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.config import Config, changed
from dupegrid.core.dask_clients import Say, client_at, client_of, current_client, own_client, patience
from dupegrid.core.dask_cluster import DaskCluster
from dupegrid.core.dask_queues import queue_client
from dupegrid.core.hidden_imports import without_pandas
from dupegrid.core.malloc import keep_memory
from dupegrid.core.room import Room
from dupegrid.core.spawned import Spawn, check_main, safe_path, start_worker_process
from dupegrid.core.tasks import Answers, Items, OnDone, Runtime, SetAside, Task, attempted, collection, started
from dupegrid.core.values import QUEUES

# Tasks at work are waited for so long after one of them has failed, and after a signal.
_PATIENCE_S: Final = 10.0
_STOP_S: Final = 1.0
_DASKS_NAMES: Final = {
    **dict.fromkeys(("single-threaded", "synchronous"), "sync"),
    "threading": "threads",
    "multiprocessing": "processes",
}


def runtime_of(config: Config, client: Any = None, say: Say = str) -> AbstractContextManager[Runtime]:
    """The runtime that settings ask for, or that of a client; else what dask itself would take, which is said."""
    scheduler = config.scheduler
    if client is None and scheduler is None:
        client = current_client()
        if client is not None:
            say(f"the work is done by the current dask client, at {client.scheduler.address}")
        else:
            scheduler = _of_dasks_settings(config)
            if scheduler is not None:
                say(f"the work is done by {scheduler}, as dask's configuration says")
    return runtime(scheduler or "threads", config.workers, client or None, config.retries, say)


def _of_dasks_settings(config: Config) -> str | None:
    """The scheduler that dask's configuration or DASK_SCHEDULER_ADDRESS names. ConfigError where it is none."""
    named = dask.config.get("scheduler-address", None) or dask.config.get("scheduler", None)
    if not isinstance(named, str) or named in ("distributed", "dask.distributed"):
        return None
    return changed(config, scheduler=_DASKS_NAMES.get(named, named)).scheduler


@contextmanager
def runtime(
    scheduler: str, workers: int | None = None, client: Any = None, retries: int = 2, say: Say = str
) -> Iterator[Runtime]:
    """A runtime by name: sync, threads, processes, local (a cluster of processes here), or that of a dask cluster.

    That is slurm, kubernetes, the address of a scheduler or its scheduler file; or a dask.distributed Client or cluster
    that is handed over, which is taken instead and left open. For gpu it is threads, as files are decoded on the cores;
    what compares is `comparing`. ConfigError when no scheduler answers at the address, when the Client cannot be used,
    or where this program cannot start processes.
    """
    count = workers or dask.system.CPU_COUNT  # of the container, too
    if client is None and scheduler == "sync":
        with one_blas_thread():
            yield _Local(dask.get, 1, retries)
    elif client is None and scheduler in ("threads", "gpu"):
        with one_blas_thread(), _threads(count) as pool:
            yield _Local(partial(dask.threaded.get, pool=pool), count, retries, pool)
    elif client is None and scheduler == "processes":
        check_main(scheduler)
        with ExitStack() as stack:
            yield _Processes(count, retries, stack)
    else:
        with _client(scheduler, workers, client, say) as opened:
            where = scheduler if client is None else opened.scheduler.address
            yield DaskCluster(opened, retries, patience(opened, where, say, scheduler in QUEUES))


def _client(scheduler: str, workers: int | None, client: Any, say: Say) -> AbstractContextManager[Any]:
    if client is not None:
        return client_of(client)
    if scheduler == "local":
        return own_client(workers or dask.system.CPU_COUNT, say)
    return queue_client(scheduler, workers, say) if scheduler in QUEUES else client_at(scheduler)


@contextmanager
def comparing(here: Runtime, scheduler: str | None, retries: int = 2, say: Say = str) -> Iterator[Runtime]:
    """The runtime that compares: for gpu a cluster of one process for each GPU, where there are any; else `here`."""
    if scheduler != "gpu" or not isinstance(here, _Local) or not gpus():
        yield here
    else:
        with own_client(len(gpus()), say, with_gpus=True) as client:
            yield DaskCluster(client, retries, patience(client, scheduler, say))


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

    def __init__(self, get: Callable[..., Any], workers: int, retries: int, pool: _Pool | None = None) -> None:
        self.workers = workers
        self._get = get
        self._retries = retries
        self._pool = pool

    def room(self, setting_bytes: int | None) -> Room:
        return Room(setting_bytes, threads=self.workers, processes=1)

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """Nothing: they see what this process sees."""

    def each(self, task: Task, items: Items, on_done: OnDone) -> list[SetAside]:
        answers = Answers(on_done)
        self._done(task, items, answers.take)
        return answers.set_aside

    def _done(self, task: Task, items: Items, take: OnDone, finished: set[int] | None = None) -> None:
        """Have items done; the places of those that are, by the order in which they start, go into `finished`."""
        places = {number: place for place, number in enumerate(started(len(items)))}

        def posttask(key: Any, part: Any, _graph: Any, _state: Any, _worker: Any) -> None:
            if finished is not None:
                finished.add(places[key[1]])
            take(part[0])

        tasks = collection(funcname(task), partial(attempted, task, self._retries), items)
        # Given, as those that are registered serve all threads at once, and dask takes them away while it computes.
        callbacks = [*Callback.active, (None, None, None, posttask, None)]
        try:
            self._get(dict(tasks.__dask_graph__()), tasks.__dask_keys__(), callbacks=callbacks)
        except BaseException as error:
            if self._pool is not None:
                self._pool.call_off(_PATIENCE_S if isinstance(error, Exception) else _STOP_S)
            raise


class _Processes(_Local):
    """A pool of processes, and another one where a process of it has died, with all that they were at."""

    def __init__(self, count: int, retries: int, stack: ExitStack) -> None:
        self._opened = stack.enter_context(ExitStack())
        super().__init__(self._get_of_a_pool, count, retries)
        self._start()

    def room(self, setting_bytes: int | None) -> Room:
        return Room(setting_bytes, threads=1, processes=self.workers)

    def each(self, task: Task, items: Items, on_done: OnDone) -> list[SetAside]:
        answers = Answers(on_done)
        left, suspects = items, []
        while len(left):
            finished: set[int] = set()
            try:
                self._done(task, left, answers.take, finished)
                break
            except BrokenExecutor:  # one of those at work did it
                self._start()
                others = [place for place in range(len(left)) if place not in finished]
                suspects += [left[place] for place in others[: self.workers]]
                left = [left[place] for place in others[self.workers :]]
        for item in suspects:
            self._alone(task, item, answers.take)
        return answers.set_aside

    def _alone(self, task: Task, item: Any, take: OnDone) -> None:
        for _try in range(self._retries + 1):
            try:
                self._done(task, [item], take)
                return
            except BrokenExecutor:
                self._start()
        take(SetAside(item, f"the process that was at it died ({self._retries + 1:,} times)"))

    def _start(self) -> None:
        self._opened.close()
        self._pool = self._opened.enter_context(_processes(self.workers))

    def _get_of_a_pool(self, graph: Any, keys: Any, callbacks: Any) -> Any:
        # dask would hand out tasks by six, and some processes would have none.
        return dask.multiprocessing.get(
            graph, keys, callbacks=callbacks, pool=self._pool, chunksize=1, optimize_graph=False
        )


def _start_worker_process() -> None:
    start_worker_process()
    without_pandas()
    keep_memory()
    one_blas_thread().__enter__()
