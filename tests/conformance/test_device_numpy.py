from typing import Any

import numpy as np
import pytest

from tests.conformance.device_suite import DeviceSuite


@pytest.fixture
def xp() -> Any:
    return np


class TestNumpy(DeviceSuite):
    pass
