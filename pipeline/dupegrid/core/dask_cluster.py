"""Tasks on the workers of a dask cluster, which are looked at before they are used."""

import hashlib
import os
import pickle
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from dask.utils import funcname

from dupegrid.core.blas import one_blas_thread
from dupegrid.core.dask_clients import Patience, dumps, this_worker
from dupegrid.core.dask_window import Answer, Window
from dupegrid.core.errors import ConfigError, DamagedError, DupegridError
from dupegrid.core.malloc import keep_memory
from dupegrid.core.room import Room, process_has
from dupegrid.core.sights import Places, Sight, as_expression, difference, look
from dupegrid.core.tasks import Answers, Items, OnDone, SetAside, Task, attempted


class DaskCluster:
    """Does tasks on the workers of a client."""

    def __init__(self, client: Any, retries: int, patience: Patience) -> None:
        self._client = client
        self._retries = retries
        self._patience = patience
        self._seen: tuple[Places, Sight] | None = None

    @property
    def workers(self) -> int:
        """How many tasks can be at work at once, for now."""
        return sum(self._client.nthreads().values()) or 1

    def room(self, setting_bytes: int | None) -> Room:
        """The memory of tasks, for workers that do not say how much they have themselves."""
        return Room(setting_bytes, threads=1, processes=self.workers)

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """ConfigError, naming the worker, where one has other versions than we or sees other files.

        `samples` are some paths of each root. Workers that come later are held to the same in their first task.
        """
        places = (os.fsencode(str(lock)), samples)
        here = look(places)
        self._patience.first_worker()
        # Text, as a worker that lacks dupegrid cannot be sent one of our functions.
        answers = self._client.run(eval, as_expression(places), {}, on_error="return")
        for address, there in answers.items():
            if isinstance(there, OSError):
                continue  # it has left, or its first task looks
            problem = f"cannot look ({there})" if isinstance(there, Exception) else difference(places, here, there)
            _refuse(address, problem)
        self._seen = (places, here)

    def each(self, task: Task, items: Items, on_done: OnDone) -> list[SetAside]:
        """Call `task(item)` on a worker for every item, and here `on_done(result)` as each one is finished."""
        name = funcname(task).strip("_<>").replace("_", "-")  # the dashboard groups by what stands before a number
        answers = Answers(on_done)
        window = Window(self._client, dumps(_Work(self._seen, task)), name, self._retries, self._patience)
        try:
            window.all_done(items, answers)
        except _DamagedThereError as found:
            if _digest(found.file) == found.digest:
                raise DamagedError(found.file, found.problem) from None
            raise DupegridError(
                f"the worker at {found.address} does not see {found.file} as it is here ({found.problem}): "
                "have it see the run directory as we do, then run the same command again"
            ) from None
        return answers.set_aside


class _DamagedThereError(Exception):
    """Raised for a DamagedError of a worker: where, and what the file looks like from there."""

    def __init__(self, file: Path, problem: str, address: str, digest: str) -> None:
        super().__init__(file, problem, address, digest)
        self.file, self.problem, self.address, self.digest = file, problem, address, digest


class _Work:
    """What a worker does with pickled items: a task, for each of them. Its process looks before its first work."""

    def __init__(self, seen: tuple[Places, Sight] | None, task: Task) -> None:
        self._seen, self._task = seen, task

    def __reduce__(self) -> tuple[Any, ...]:
        return _work_of, (dumps((self._seen, self._task)),)

    def __call__(self, pickled: bytes) -> Answer:
        keep_memory()
        (address, limit_bytes, threads), begun, given = this_worker(), time.monotonic(), []
        fatal: Exception | None = None
        try:
            if self._seen is not None:
                _refuse(address, _difference_here(self._seen))
            with one_blas_thread(), process_has(limit_bytes, threads):
                for item in pickle.loads(pickled):
                    given.append(attempted(self._task, 0, item))
        except DamagedError as error:
            fatal = _DamagedThereError(error.file, error.problem, address, _digest(error.file))
        except Exception as error:
            fatal = error
        return Answer(address, time.monotonic() - begun, given, fatal)


@lru_cache(maxsize=4)
def _work_of(pickled: bytes) -> _Work:
    """The same object for all tasks of a stage in a process: what its run directory has opened is opened once."""
    return _Work(*pickle.loads(pickled))


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
