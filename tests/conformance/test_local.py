"""Worker processes are forked from one that has imported dask: tests/whole starts them as a user would."""

from collections.abc import Iterator
from functools import partial

import dask
import distributed
import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.runtime_suite import WORKERS, ClusterSuite, Opened
from tests.helpers import forks  # noqa: F401  # which says what is imported before

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # as workers take a while to start
    "distributed.worker.multiprocessing-method": "forkserver",
}


@pytest.fixture(scope="module")
def runtime() -> Iterator[Opened]:
    with pytest.MonkeyPatch.context() as patch, dask.config.set(SETTINGS):
        patch.setattr(distributed.utils, "_forkserver_preload_set", True)  # tests/helpers/forks.py says what it imports
        yield partial(open_runtime, "local", WORKERS)


class TestLocal(ClusterSuite):
    pass
