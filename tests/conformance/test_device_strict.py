"""By array-api-strict, which has the words of the array API standard and no others."""

from typing import Any

import array_api_strict
import pytest

from tests.conformance.device_suite import DeviceSuite


@pytest.fixture
def xp() -> Any:
    return array_api_strict


class TestArrayApiStrict(DeviceSuite):
    pass
