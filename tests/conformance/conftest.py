"""What the suites are given: a runtime that several tests share, and a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

import dupegrid
from dupegrid.core.tasks import Runtime
from tests.helpers.clusters import dask_scheduler, dask_worker

pytest.register_assert_rewrite(
    "tests.conformance.runtime_suite", "tests.conformance.store_suite", "tests.conformance.device_suite"
)
from tests.conformance.runtime_suite import WORKERS, Opened  # noqa: E402  # after that line


@pytest.fixture(scope="module")
def workers(runtime: Opened) -> Iterator[Runtime]:
    """One that several tests share, as processes take a while to start."""
    with runtime() as workers:
        yield workers


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster whose workers have two BLAS threads; a task may kill one of them, and it is started again."""
    folder = tmp_path_factory.mktemp("cluster")
    once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    two_threads = "import numpy, threadpoolctl; threadpoolctl.threadpool_limits(2)"
    with (
        dask_scheduler(folder, once) as (address, _),
        dask_worker(address, folder, two_threads, "--nworkers", str(WORKERS)),
    ):
        yield address


@pytest.fixture(scope="package")
def indexed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the demo's pictures and copies of half of them, whose comparison the tests make again."""
    folder = tmp_path_factory.mktemp("device")
    out, some = folder / "run", folder / "some"
    some.mkdir()
    for picture in sorted(pictures.iterdir())[::2]:
        (some / picture.name).write_bytes(picture.read_bytes())
    dupegrid.index(pictures, some, out=out, thumb=16, scope="across", max_aspect=1.01, quiet=True)
    return out


@contextmanager
def whole_cluster(address: str) -> Iterator[Client]:
    """A client, once all workers are there (again)."""
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(WORKERS, timeout=60)
        yield client
