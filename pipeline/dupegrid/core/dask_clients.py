"""Clients of dask clusters: of our own, of the user's, at an address; and whether anybody works there.

The only file that knows distributed.
"""

import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import dask

from dupegrid.core.arrays import gpus
from dupegrid.core.errors import ConfigError, DupegridError
from dupegrid.core.malloc import TRIM_VARIABLE, without_trimming
from dupegrid.core.spawned import SAFE_PATH, check_main, kept_environment, safe_path
from dupegrid.core.text import size_text

if TYPE_CHECKING:
    from distributed import Client

Say = Callable[[str], object]

GO_ON: Final = "what was finished is kept: run the same command again to go on"
_ANSWER_S: Final = 5.0  # at least, of a scheduler whose address was given; more by dask's own setting
_CLOSE_S: Final = 10.0  # at most, when a run ends
_STOP_S: Final = 0.5  # at most, when a signal ends it
_A_WORKER_S: Final = 60.0  # at most, until the first worker is there, at an address
_PAUSED_S: Final = 30.0  # at most, that all workers are paused
_SAY_EVERY_S: Final = 30.0
_ASK_EVERY_S: Final = 0.5
_THREADS_A_GPU: Final = 4  # one reads, or writes, while the GPU works for another
_LOOPBACK: Final = "127.0.0.1"
_WORKERS_START_WITH: Final = "distributed.nanny.pre-spawn-environ"
# dask's processes wake 50 times a second to see that they do, and workers 100 times for their profile: two workers that
# have nothing to do take 0.13 CPU s a second, with these 0.03. Whoever set them otherwise has it so.
_SELDOM: Final = {"distributed.admin.tick.interval": "500ms", "distributed.worker.profile.interval": "100ms"}


class Patience:
    """Looks whether anybody works in a cluster: says so where nobody does, and ends it after a while."""

    def __init__(self, client: "Client", where: str, say: Say, limit_s: float | None) -> None:
        self.threads = 0
        self.addresses: list[str] = []
        self._client, self._where, self._say, self._limit_s = client, where, say, limit_s
        self._idle_since: float | None = None
        self._said = time.monotonic()

    def first_worker(self) -> None:
        """Wait until somebody is there, with a task to do, as some clusters start workers only where there is work."""
        self.look()
        if self.addresses:
            return
        task = self._client.submit(abs, -1, key=f"first-worker-{uuid.uuid4().hex}")
        while not self.addresses:
            time.sleep(_ASK_EVERY_S)
            self.look()
        task.release()

    def look(self) -> None:
        """Ask the scheduler. ConfigError where no worker came, DupegridError where all have been paused for long."""
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except lost() as error:
            raise cluster_lost(error) from None
        self.addresses, self.threads = list(workers), sum(worker["nthreads"] for worker in workers.values())
        now = time.monotonic()
        if any(worker.get("status") != "paused" for worker in workers.values()):
            self._idle_since = None
            return
        self._idle_since = now if self._idle_since is None else self._idle_since
        idle_s = now - self._idle_since
        if workers and idle_s >= _PAUSED_S:
            limit_bytes = min(worker["memory_limit"] for worker in workers.values())
            raise DupegridError(
                f"all {len(workers):,} workers at {self._where} are paused, as their memory is full "
                f"({size_text(limit_bytes)} each): give them more (dask worker --memory-limit), then run again"
            )
        if not workers and self._limit_s is not None and idle_s >= self._limit_s:
            raise ConfigError(f"no worker at {self._where}: start some with 'dask worker {self._where}'")
        if idle_s and now - self._said >= _SAY_EVERY_S:
            self._said = now
            self._say(f"{self._where}: {len(workers):,} workers{' paused' if workers else ''}; waiting")


def this_worker() -> tuple[str, int, int]:
    """The worker whose task this is: its address, its limit of memory in bytes, its threads."""
    from distributed import get_worker

    worker = get_worker()
    return worker.address, int(worker.memory_manager.memory_limit or 0), worker.state.nthreads


def dumps(what: Any) -> bytes:
    """What a worker unpickles with `pickle.loads`, a function of a script too."""
    from distributed.protocol.pickle import dumps

    pickled: bytes = dumps(what)
    return pickled


def cluster_lost(error: Exception) -> DupegridError:
    """The error for what `lost` names."""
    return DupegridError(f"the cluster was lost ({type(error).__name__}); {GO_ON}")


def lost() -> tuple[type[Exception], ...]:
    """What is raised where a cluster is lost."""
    from distributed.comm import CommClosedError

    return CancelledError, CommClosedError, OSError  # the last where it cannot be connected to any more


def killed_by(error: BaseException | None) -> str | None:
    """In words, that a task killed its workers; None of any other error."""
    from distributed import KilledWorker

    if not isinstance(error, KilledWorker):
        return None
    worker = error.last_worker
    return (
        f"{error.allowed_failures + 1:,} workers died while they were at it, the last one at {worker.address}, "
        f"which had {size_text(worker.memory_limit)} of memory"
    )


@contextmanager
def own_client(workers: int, say: Say, with_gpus: bool = False) -> Iterator["Client"]:
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
            "from dupegrid.core.hidden_imports import without_pandas; without_pandas()",
            *([_take_gpu(gpus())] if with_gpus else []),
        ],
    }
    variables = {**without_trimming(dask.config.get(_WORKERS_START_WITH)), SAFE_PATH: "1"}
    # distributed sets these here, whenever it starts a worker.
    with silent(), kept_environment(*variables, TRIM_VARIABLE, "PYTHONHASHSEED", "__DASK_PARENT_PID"):
        os.environ.pop(TRIM_VARIABLE, None)  # which an earlier cluster of somebody's leaves behind
        with safe_path(), dask.config.set({_WORKERS_START_WITH: variables, **_seldom()}):
            cluster = LocalCluster(**options)
        with cluster, _closed(Client(cluster, set_as_default=False)) as client:
            say(f"a dask cluster of {workers:,} workers here, its dashboard is {cluster.dashboard_link}")
            try:
                yield client
            except BaseException as error:
                if not isinstance(error, Exception):  # a signal: workers would be asked to end, and waited for
                    for nanny in cluster.workers.values():
                        with suppress(ProcessLookupError, TypeError):  # it has none for now
                            os.kill(nanny.pid, signal.SIGKILL)
                raise


def _seldom() -> dict[str, str]:
    """Of _SELDOM what is as dask has it."""
    known = dask.config.merge(*dask.config.defaults)
    return {
        name: value for name, value in _SELDOM.items() if dask.config.get(name) == dask.config.get(name, config=known)
    }


def _take_gpu(names: Sequence[str]) -> str:
    """The text by which each worker, before it does anything, makes one GPU the only one it sees."""
    return f"""
import os
def dask_setup(worker):
    os.environ["CUDA_VISIBLE_DEVICES"] = {list(names)!r}[int(worker.name)]
"""


@contextmanager
def client_at(scheduler: str) -> Iterator["Client"]:
    """A client of the scheduler at an address, or of that which a scheduler file names."""
    from distributed import Client

    where = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
    with silent():
        try:
            client = Client(**where, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, ValueError, ImportError, TypeError, KeyError) as error:
            why = f" ({error})" if isinstance(error, ImportError | TypeError | KeyError) else ""
            raise ConfigError(
                f"no dask scheduler answers at {scheduler}{why}: start one with 'dask scheduler'"
            ) from None
        with _closed(client):
            yield client


@contextmanager
def client_of(given: Any) -> Iterator["Client"]:
    """A client of the caller's, who goes on using it; or one of a cluster object. ConfigError if it cannot be used."""
    from distributed import Client

    if hasattr(given, "scheduler_address") and not isinstance(given, Client):
        with silent(), _closed(Client(given, set_as_default=False)) as client:
            yield client
        return
    if not isinstance(given, Client) or given.status != "running" or given.asynchronous:
        raise ConfigError(
            f"client is {given!r}: give a dask.distributed Client that is open and not asynchronous, or a cluster"
        )
    with silent():
        yield given


def current_client() -> "Client | None":
    """The client that dask takes where nothing is said, as whoever has one expects; None where there is none."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    try:
        client = Client.current()
    except ValueError:
        return None
    return None if client.asynchronous or client.status != "running" else client


def patience(client: "Client", where: str, say: Say, is_a_queue: bool = False) -> Patience:
    """How long it is waited for workers: for ever in a queue or for a cluster object, which starts some when it can."""
    return Patience(client, where, say, None if is_a_queue or client.cluster is not None else _A_WORKER_S)


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
def silent() -> Iterator[None]:
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
