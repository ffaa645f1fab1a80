"""A task and its items -> a dask collection: those of dask's own schedulers are built here.

The collection holds the items, which are numbers of chunks or places of tiles, and no data (decisions/0004).
"""

import errno
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DupegridError
from dupegrid.core.hidden_imports import lightly
from dupegrid.core.room import Room
from dupegrid.core.text import printable

if TYPE_CHECKING:
    import dask.array as da
    import dask.bag as db

Task = Callable[[Any], Any]
Items = Sequence[Any] | Ints
OnDone = Callable[[Any], None]

_PAUSE_S: Final = 0.2  # before the second try, and twice that before the third
_NOTHING_WORKS: Final = 100  # so many items set aside and none done
# What says something of the machine and not of an item, which another try does not mend.
_OF_A_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OF_THE_MACHINE: Final = (*_OF_A_DISK, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class SetAside:
    """An item that is not done: its task raised, or killed its workers, at every try. `problem` is one line."""

    item: Any
    problem: str


class Runtime(Protocol):
    """Does a task for each of many items on its workers, by dask."""

    def room(self, setting_bytes: int | None) -> Room:
        """The memory of tasks: threads share that of their process, and processes that of the machine."""
        ...

    def check(self, lock: Path, samples: tuple[tuple[bytes, ...], ...] = ()) -> None:
        """ConfigError where a worker does not see what this process sees: the lock of a run, `samples` of each root."""
        ...

    def each(self, task: Task, items: Items, on_done: OnDone) -> list[SetAside]:
        """Call `task(item)` on a worker for every item, and `on_done(result)` in this thread as each one is finished.

        They are started in the order in which they are given, as many at once as there are workers. An item whose task
        raises, or kills its workers, at the first try and at `retries` more is set aside: returned, with the problem,
        when all others are finished. Errors of ours (DupegridError), MemoryError, a full disk, an interrupt and the
        loss of a cluster say nothing of an item, and are raised at once.
        """
        ...


class Answers:
    """What tasks gave, as they finish: results for `on_done`, and the items that are set aside."""

    def __init__(self, on_done: OnDone) -> None:
        self.set_aside: list[SetAside] = []
        self._on_done = on_done
        self.any_done = False

    def take(self, answer: Any) -> None:
        """Take the next one. DupegridError where nothing but failures comes."""
        if not isinstance(answer, SetAside):
            self.any_done = True
            self._on_done(answer)
            return
        self.set_aside.append(answer)
        if not self.any_done and len(self.set_aside) >= _NOTHING_WORKS:
            raise DupegridError(
                f"of {_NOTHING_WORKS} pieces of work none could be done, the last one: {answer.problem}"
            )


def attempted(task: Task, retries: int, item: Any) -> Any:
    """task(item); a SetAside where the task raised at the first try and at so many more.

    What says nothing of the item is raised at once: errors of ours, and what the machine lacks.
    """
    for tried in range(retries + 1):
        if tried:
            time.sleep(tried * _PAUSE_S)
        try:
            return task(item)
        except (DupegridError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
                raise
            problem = described(error)
    return SetAside(item, problem)


def described(error: BaseException) -> str:
    """An error in one line: its kind, what it says, and the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return printable(f"{type(error).__name__}: {error}".removesuffix(": ") + place)


def collection(name: str, task: Task, items: Items) -> "db.Bag | da.Array":
    """A dask collection of which every part is [task(item)], each a dask task of its own, named after `name`.

    The items of a list are the partitions of a dask bag; the rows of a numpy array are the blocks of a dask array. A
    scheduler starts them in the order in which they are given; the parts' numbers, in that order, are `started`.
    """
    name = f"{name}-{uuid.uuid4().hex}"  # dask would look through all of the task to make one
    count = len(items)
    # It is given calls without arguments, as it would look for keys inside of them.
    numbers = started(count)
    if not isinstance(items, np.ndarray) or not count:
        import dask.bag as db  # here, as workers do without, and as an index does without dask.array: 0.8 s of CPU

        partitions = {(name, k): (partial(_partition, task, item),) for k, item in zip(numbers, items, strict=True)}
        return db.Bag(partitions, name, count)
    with lightly():
        import dask.array as da

    blocks = {(name, k): (partial(_block, task, item),) for k, item in zip(numbers, items, strict=True)}
    return da.Array(blocks, name, chunks=((1,) * count,), dtype=object)


def started(count: int) -> list[int]:
    """The numbers of so many parts in the order in which dask starts them, where they wait for nothing.

    It goes by their keys as text, the last one first (tests/conformance holds it to that).
    """
    return sorted(range(count), key=str, reverse=True)


def _partition(task: Task, item: Any) -> list[Any]:
    return [task(item)]


def _block(task: Task, item: Any) -> Any:
    block = np.empty(1, object)
    block[0] = task(item)
    return block
