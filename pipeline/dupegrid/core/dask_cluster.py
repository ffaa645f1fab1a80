"""A dask cluster, our own or the user's: it does tasks on workers that see what we see.

The only file that knows distributed.
"""

import hashlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dask
from dask.utils import funcname

from dupegrid.core.arrays import gpus
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.errors import ConfigError, DamagedError, DupegridError
from dupegrid.core.sights import Places, Sight, as_expression, difference, look
from dupegrid.core.spawned import SAFE_PATH, check_main, kept_environment, safe_path
from dupegrid.core.tasks import Answers, Items, SetAside, Task, attempted, collection

if TYPE_CHECKING:
    from distributed import Client

GO_ON: Final = "what was finished is kept: run the same command again to go on"
_ANSWER_S: Final = 5.0  # at most, of a scheduler whose address was given
_CLOSE_S: Final = 10.0  # at most, when a run ends
_STOP_S: Final = 0.5  # at most, when a signal ends it
_THREADS_A_GPU: Final = 4  # one reads, or writes, while the GPU works for another
_LOOPBACK: Final = "127.0.0.1"
_WORKERS_START_WITH: Final = "distributed.nanny.pre-spawn-environ"


@contextmanager
def dask_cluster(scheduler: str, workers: int, retries: int = 2) -> Iterator["DaskCluster"]:
    """A cluster of so many processes of our own (local, or gpu: one a GPU), or the one at the address of a scheduler.

    ConfigError when no scheduler answers there, or no worker is there.
    """
    with (
        _silent(),
        _own_client(workers, scheduler == "gpu") if scheduler in ("local", "gpu") else _client_at(scheduler) as client,
    ):
        yield DaskCluster(client, retries)


@contextmanager
def handed_over(client: Any, retries: int = 2) -> Iterator["DaskCluster"]:
    """The cluster of a client of the caller's, who goes on using it. ConfigError when it cannot be used."""
    from distributed import Client

    if not isinstance(client, Client) or client.status != "running" or client.asynchronous:
        raise ConfigError(f"client is {client!r}: give a dask.distributed Client that is open and not asynchronous")
    with _silent():
        _wait_for_a_worker(client, client.scheduler.address)
        yield DaskCluster(client, retries)


class DaskCluster:
    """Does tasks on the workers of a client."""

    def __init__(self, client: "Client", retries: int) -> None:
        self._retries = retries
        self._client = client
        self.workers = sum(client.nthreads().values()) or 1
        self._seen: tuple[Places, Sight] | None = None

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """ConfigError, naming the worker, where one has other versions than we or sees other files.

        `samples` are some paths of each root. Workers that come later are held to the same in their first task.
        """
        places = (os.fsencode(str(lock)), samples)
        here = look(places)
        # Text, as a worker that lacks dupegrid cannot be sent one of our functions.
        answers = self._client.run(eval, as_expression(places), {}, on_error="return")
        for address, there in answers.items():
            _refuse(
                address, f"cannot look ({there})" if isinstance(there, Exception) else difference(places, here, there)
            )
        self._seen = (places, here)

    def each(self, task: Task, items: Items, on_done: Callable[[Any], None]) -> list[SetAside]:
        """Call `task(item)` on a worker for every item, and here `on_done(result)` as each one is finished."""
        from distributed import KilledWorker, as_completed
        from distributed.comm import CommClosedError

        answers = Answers(on_done)
        tasks = collection(funcname(task), partial(_work, self._seen, partial(attempted, task, self._retries)), items)
        futures = []
        try:
            futures = self._client.get(dict(tasks.__dask_graph__()), tasks.__dask_keys__(), sync=False)
            for place, future in zip(range(len(items)), as_completed(futures, loop=self._client.loop), strict=True):
                try:
                    answers.take(future.result()[0])
                except KilledWorker as error:
                    answers.take(SetAside(items[place], str(error)))
                future.release()
            return answers.set_aside
        except (CancelledError, CommClosedError) as error:
            raise DupegridError(f"the cluster was lost ({type(error).__name__}); {GO_ON}") from None
        except _DamagedThereError as found:
            if _digest(found.file) == found.digest:
                raise DamagedError(found.file, found.problem) from None
            raise DupegridError(
                f"the worker at {found.address} does not see {found.file} as it is here ({found.problem}): "
                "have it see the run directory as we do, then run the same command again"
            ) from None
        finally:
            for future in futures:
                future.release()  # what has not started is called off


class _DamagedThereError(Exception):
    """Raised in a worker for a DamagedError: where, and what the file looks like from there."""

    def __init__(self, file: Path, problem: str, address: str, digest: str) -> None:
        super().__init__(file, problem, address, digest)
        self.file, self.problem, self.address, self.digest = file, problem, address, digest


def _work(seen: tuple[Places, Sight] | None, task: Task, item: Any) -> Any:
    """Do a task in a worker, whose process looks before its first work."""
    from distributed import get_worker

    address = get_worker().address
    if seen is not None:
        _refuse(address, _difference_here(seen))
    try:
        with one_blas_thread():
            return task(item)
    except DamagedError as error:
        raise _DamagedThereError(error.file, error.problem, address, _digest(error.file)) from None


@lru_cache(maxsize=16)
def _difference_here(seen: tuple[Places, Sight]) -> str | None:
    places, there = seen
    return difference(places, there, look(places))


def _refuse(address: str, problem: str | None) -> None:
    if problem is not None:
        raise ConfigError(f"the worker at {address} {problem}")


def _digest(file: Path) -> str:
    """What is at a path, as seen from here."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "blake2b").hexdigest()
    except OSError as error:
        return type(error).__name__


@contextmanager
def _own_client(workers: int, with_gpus: bool = False) -> Iterator["Client"]:
    """A client of a cluster of processes here, which nobody else can reach but by loopback."""
    from distributed import Client, LocalCluster  # here, as it takes a while and most runs do without it

    check_main("gpu" if with_gpus else "local")
    options = {
        "n_workers": workers,
        "threads_per_worker": _THREADS_A_GPU if with_gpus else 1,
        "host": _LOOPBACK,
        "dashboard_address": f"{_LOOPBACK}:0",
        "silence_logs": logging.CRITICAL,  # what fails is said in one line, here
        # The terminal sends SIGINT to all; only the parent answers.
        "preload": [
            "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
            "from dupegrid.core.start import without_pandas; without_pandas()",
            *([_take_gpu(gpus())] if with_gpus else []),
        ],
    }
    variables = {**dask.config.get(_WORKERS_START_WITH), SAFE_PATH: "1"}
    # distributed sets these here, whenever it starts a worker.
    with kept_environment(*variables, "PYTHONHASHSEED", "__DASK_PARENT_PID"):
        with safe_path(), dask.config.set({_WORKERS_START_WITH: variables}):
            cluster = LocalCluster(**options)
        with cluster, _closed(Client(cluster, set_as_default=False)) as client:
            try:
                yield client
            except BaseException as error:
                if not isinstance(error, Exception):  # a signal: workers would be asked to end, and waited for
                    for nanny in cluster.workers.values():
                        with suppress(ProcessLookupError, TypeError):  # it has none for now
                            os.kill(nanny.pid, signal.SIGKILL)
                raise


def _take_gpu(names: Sequence[str]) -> str:
    """The text by which each worker, before it does anything, makes one GPU the only one it sees."""
    return f"""
import os
def dask_setup(worker):
    os.environ["CUDA_VISIBLE_DEVICES"] = {list(names)!r}[int(worker.name)]
"""


@contextmanager
def _client_at(scheduler: str) -> Iterator["Client"]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError):
        raise ConfigError(f"no dask scheduler answers at {scheduler}: start one with 'dask scheduler'") from None
    with _closed(client):
        _wait_for_a_worker(client, scheduler)
        yield client


def _wait_for_a_worker(client: "Client", scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=30)
    except TimeoutError:
        raise ConfigError(f"no worker at {scheduler}: start some with 'dask worker {scheduler}'") from None


@contextmanager
def _closed(client: "Client") -> Iterator["Client"]:
    """A client that is closed in the end, come what may of its connection, and soon if a signal ends the run."""
    limit_s = _STOP_S
    try:
        yield client
        limit_s = _CLOSE_S
    except Exception:
        limit_s = _CLOSE_S
        raise
    finally:
        with suppress(Exception):
            client.close(timeout=limit_s)


@contextmanager
def _silent() -> Iterator[None]:
    """distributed logs nothing: what fails is said in one line, here."""

    def is_other(record: logging.LogRecord) -> bool:
        return not record.name.startswith("distributed")

    import distributed  # noqa: F401  # sets its handlers up

    handlers = {h for name in ("distributed", "distributed.client") for h in logging.getLogger(name).handlers}
    with ExitStack() as stack:
        for handler in handlers:
            handler.addFilter(is_other)
            stack.callback(handler.removeFilter, is_other)
        yield
