from functools import partial

import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.runtime_suite import WORKERS, Opened, RuntimeSuite


@pytest.fixture(scope="module")
def runtime() -> Opened:
    return partial(open_runtime, "threads", WORKERS)


class TestThreads(RuntimeSuite):
    pass
