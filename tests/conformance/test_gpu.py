"""--scheduler gpu where there is no GPU: what is said, what the cores do instead, and which card a worker would see."""

import os
from pathlib import Path

import pytest

import dupegrid
from dupegrid.core import arrays, dask_clients
from dupegrid.core import runtime as runtime_module
from dupegrid.core.errors import UsageError
from dupegrid.pairs import device


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (arrays, device):
        monkeypatch.setattr(module, "gpus", tuple)
    monkeypatch.setattr("dupegrid.core.runtime.gpus", tuple)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_it_is_one_line_or_the_cores(image_tree: Path, tmp_path: Path) -> None:
    settings = {"thumb": 16, "scheduler": "gpu", "quiet": True}
    with pytest.raises(UsageError, match=r"^no GPU here \(\S+\).*: take --scheduler threads, or --allow-cpu"):
        dupegrid.run(image_tree, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    run = dupegrid.run(image_tree, out=tmp_path / "run", allow_cpu=True, matrix=True, **settings)
    assert len(run.matches) == 1
    with pytest.raises(UsageError, match="no GPU here"):
        dupegrid.compare(run, allow_cpu=False, threshold=60, quiet=True)
    with pytest.raises(UsageError, match="no GPU here"):
        run.mse_on("cupy")
    with pytest.raises(UsageError, match="take numpy or cupy"):
        run.mse_on("torch")


def test_each_worker_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(_item: int) -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    for module in (dask_clients, runtime_module):
        monkeypatch.setattr(module, "gpus", lambda: ("3", "GPU-8932"))
    found: list[str] = []
    with runtime_module.runtime("gpu", 2) as here, runtime_module.comparing(here, "gpu") as cluster:
        cluster.each(seen, range(16), found.append)
        assert cluster.workers == 2 * dask_clients._THREADS_A_GPU
    assert set(found) == {"3", "GPU-8932"}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") in (None, "")
