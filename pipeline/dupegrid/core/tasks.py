"""A task and its items -> a dask collection: all of them are built here, for any scheduler.

The collection holds the items, which are numbers of chunks or places of tiles, and no data (decisions/0004).
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dupegrid.core.arrays import Ints

if TYPE_CHECKING:
    import dask.array as da
    import dask.bag as db

Task = Callable[[Any], Any]
Items = Sequence[Any] | Ints


def collection(name: str, task: Task, items: Items) -> "db.Bag | da.Array":
    """A dask collection of which every part is [task(item)], each a dask task of its own, named after `name`.

    The items of a list are the partitions of a dask bag; the rows of a numpy array are the blocks of a dask array. A
    scheduler starts them in the order in which they are given.
    """
    import dask.array as da  # here, as it takes a while and workers do without
    import dask.bag as db

    name = f"{name}-{uuid.uuid4().hex}"  # dask would look through all of the task to make one
    count = len(items)
    # dask starts tasks that wait for nothing by their keys as text, the last one first (tests/conformance holds it to
    # that). It is given calls without arguments, as it would look for keys inside of them.
    numbers = sorted(range(count), key=str, reverse=True)
    if not isinstance(items, np.ndarray) or not count:
        partitions = {(name, k): (partial(_partition, task, item),) for k, item in zip(numbers, items, strict=True)}
        return db.Bag(partitions, name, count)
    blocks = {(name, k): (partial(_block, task, item),) for k, item in zip(numbers, items, strict=True)}
    return da.Array(blocks, name, chunks=((1,) * count,), dtype=object)


def _partition(task: Task, item: Any) -> list[Any]:
    return [task(item)]


def _block(task: Task, item: Any) -> Any:
    block = np.empty(1, object)
    block[0] = task(item)
    return block
