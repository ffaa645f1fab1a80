"""Processes of a pool are forked from one that has imported what a run does: tests/core starts them as a user would."""

from collections.abc import Iterator
from functools import partial

import pytest

from dupegrid.core.runtime import runtime as open_runtime
from tests.conformance.runtime_suite import WORKERS, Opened, ProcessesSuite
from tests.helpers.forks import forked_workers


@pytest.fixture(scope="module")
def runtime() -> Iterator[Opened]:
    with forked_workers():
        yield partial(open_runtime, "processes", WORKERS)


class TestProcesses(ProcessesSuite):
    pass
