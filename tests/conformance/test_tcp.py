from functools import partial

import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.conftest import whole_cluster
from tests.conformance.runtime_suite import ClusterSuite, Opened


@pytest.fixture(scope="module")
def runtime(address: str) -> Opened:
    with whole_cluster(address):
        return partial(open_runtime, address)


class TestTcp(ClusterSuite):
    pass
