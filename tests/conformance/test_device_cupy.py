"""On a GPU; skipped, with the reason, where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupegrid
from dupegrid.core.arrays import gpus, named_module
from tests.conformance.device_suite import DeviceSuite, compared

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU that cupy can use")]


@pytest.fixture
def xp() -> Any:
    return named_module("cupy")


class TestCupy(DeviceSuite):
    def test_a_card_with_little_memory_left(self, indexed: Path, on: Any, xp: Any) -> None:
        settings = {"orientations": "all", "threshold": 400}
        on("module")
        whole, pool = compared(indexed, **settings), xp.get_default_memory_pool()
        pool.free_all_blocks()
        pool.set_limit(size=pool.total_bytes() + (4 << 20))
        try:
            assert compared(indexed, **settings).matches == whole.matches
        finally:
            pool.set_limit(size=0)

    def test_the_matrix_is_exact_and_its_blocks_are_on_the_card(self, indexed: Path, xp: Any) -> None:
        run = compared(indexed, threshold=2)
        block = run.mse_on("cupy")[:50, :70].compute()
        assert isinstance(block, xp.ndarray)
        np.testing.assert_array_equal(xp.asnumpy(block), run.mse[:50, :70].compute())

    @pytest.mark.parametrize("metric", ["mse", "mae"])
    def test_a_worker_a_card(self, pictures: Path, tmp_path: Path, metric: str) -> None:
        runs = [
            dupegrid.run(pictures, out=tmp_path / name, scheduler=name, metric=metric, thumb=16, quiet=True)
            for name in ("gpu", "threads")
        ]
        assert runs[0].matches == runs[1].matches
        assert runs[0].clusters == runs[1].clusters
