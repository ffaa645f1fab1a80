from collections.abc import Iterator
from functools import partial

import dask
import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.runtime_suite import WORKERS, Opened, ProcessesSuite


@pytest.fixture(scope="module")
def runtime() -> Iterator[Opened]:
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # as workers take a while to start
        yield partial(open_runtime, "local", WORKERS)


class TestLocal(ProcessesSuite):
    pass
