from collections.abc import Iterator
from functools import partial

import pytest
from distributed import Client

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.conftest import whole_cluster
from tests.conformance.runtime_suite import WORKERS, ClusterSuite, Opened, results
from tests.helpers.tasks import blas_threads


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with whole_cluster(address) as client:
        yield client


@pytest.fixture(scope="module")
def runtime(client: Client) -> Opened:
    return partial(open_runtime, "threads", client=client)


class TestClient(ClusterSuite):
    def test_it_stays_open_and_its_workers_as_they_were(self, runtime: Opened, client: Client) -> None:
        client.wait_for_workers(WORKERS, timeout=60)
        with runtime() as workers:
            assert results(workers, abs, [-1]) == [1]
        assert client.submit(abs, -1).result(60) == 1
        assert list(client.run(blas_threads).values()) == [[2]] * WORKERS
