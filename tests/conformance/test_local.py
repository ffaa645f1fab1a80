"""Worker processes are forked from one that has imported dask: tests/core starts them as a user would."""

from collections.abc import Iterator
from functools import partial

import dask
import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.runtime_suite import WORKERS, ClusterSuite, Opened
from tests.helpers.forks import forked_workers


@pytest.fixture(scope="module")
def runtime() -> Iterator[Opened]:
    once = {"distributed.scheduler.allowed-failures": 0}  # as workers take a while to start
    with dask.config.set(once), forked_workers():
        yield partial(open_runtime, "local", WORKERS)


class TestLocal(ClusterSuite):
    pass
