"""Arrays in a folder."""

from pathlib import Path

import pytest

from tests.conformance.store_suite import StoreSuite


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


class TestFolder(StoreSuite):
    pass
