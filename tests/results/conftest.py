"""A run for the tests of exports."""

import pytest

import dupegrid
from tests.helpers.hostile import hostile_run


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """A run whose pictures have names that break software."""
    return hostile_run(tmp_path_factory.mktemp("hostile"))
