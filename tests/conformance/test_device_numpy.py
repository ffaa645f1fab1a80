from typing import Any

import numpy as np
import pytest

from dupegrid.core.errors import UsageError
from dupegrid.pairs import points
from tests.conformance.device_suite import DeviceSuite


@pytest.fixture
def xp() -> Any:
    return np


class TestNumpy(DeviceSuite):
    def test_a_device_that_rounds_products_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """To 8 bits, as some do that are told to. 11, as of TF32, are no harm: all values are those of float16."""

        class Rounding:
            def __getattr__(self, name: str) -> Any:
                return getattr(np, name)

            def matmul(self, x: Any, y: Any) -> Any:
                rounded = [(some.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for some in (x, y.copy())]
                return np.matmul(*rounded)

        points.check(np)
        monkeypatch.setattr(points, "array_module", lambda _array: Rounding())
        with pytest.raises(UsageError, match="rounds float32 products here"):
            points.check(np)
