"""Arrays in the memory of this process, by the same means as in a bucket."""

import uuid
from pathlib import Path

import pytest

from dupegrid.storage.bucket import BucketPath
from tests.conformance.store_suite import StoreSuite


@pytest.fixture
def place() -> Path:
    return BucketPath("memory:", uuid.uuid4().hex, "run")


class TestMemory(StoreSuite):
    pass
