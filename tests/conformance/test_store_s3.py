"""Arrays in a bucket."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.store_suite import StoreSuite
from tests.helpers.bucket import a_bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Path]:
    with a_bucket() as found:
        yield found


@pytest.fixture
def place(bucket: Path) -> Path:
    return bucket / uuid.uuid4().hex


class TestS3(StoreSuite):
    pass
