"""Tiles whose strips lie apart are never a task, and what a run says is what it says where each of them is one."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dupegrid
from dupegrid.core.errors import UnfinishedError
from dupegrid.core.runtime import _Local
from dupegrid.pairs import compare, sort
from dupegrid.pairs.job import COUNTS
from dupegrid.storage.arrays import Tiles
from tests.benchmarks import collection
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of crops of three photos, some of whose strips are apart."""
    few = [Image.open(ROOT / "tests/data" / f"{name}.jpg").convert("RGB") for name in ("chelsea", "coffee", "grass")]
    for photo in few:
        photo.thumbnail((200, 200))
    monkeypatch.setattr(collection, "sources", lambda _: few)
    monkeypatch.setattr(sort, "_CHUNK", 20)  # so that the edges of strips lie within chunks
    return collection.make_run(tmp_path / "run", 300, thumb=16, tile=24)


@pytest.mark.parametrize("orientations", ["none", "all"])
def test_strips_that_are_apart_are_no_task(run: Path, monkeypatch: pytest.MonkeyPatch, orientations: str) -> None:
    tasks, each = [], _Local.each

    def counted(*arguments: object) -> object:
        tasks.append(len(arguments[2]))  # type: ignore[arg-type]
        return each(*arguments)  # type: ignore[arg-type]

    def compared() -> dupegrid.Run:
        return dupegrid.compare(run, quiet=True, scheduler="sync", threshold=60, cutoff=60, orientations=orientations)

    monkeypatch.setattr(_Local, "each", counted)
    done = compared()
    matches, receipt, tiles = done.matches, done.receipt, done.receipt.tiles
    assert len(matches)
    assert 0 < tasks[0] < tiles
    assert compared().receipt == receipt
    assert tasks[1] == 0
    (run / "tiles.zarr" / "zarr.json").unlink()
    monkeypatch.setattr(compare, "apart", lambda job, _order: np.zeros((job.grid.strips,) * 2, bool))
    again = compared()
    assert tasks[2] == tiles
    assert again.matches == matches
    assert again.receipt == receipt


@pytest.mark.parametrize("failures", [1, 9])
def test_a_mark_that_cannot_be_written_is_tried_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    mark, failed = Tiles.mark, []

    def failing(tiles: Tiles, i: int, j: int, counts: np.ndarray) -> None:
        if len(failed) < failures and counts[COUNTS.index("box")] and not counts[COUNTS.index("exact")]:
            failed.append((i, j))
            raise OSError(errno.EIO, "passing")
        mark(tiles, i, j, counts)

    def compared(retries: int) -> dupegrid.Run:
        return dupegrid.compare(run, quiet=True, scheduler="sync", threshold=60, cutoff=60, retries=retries)

    monkeypatch.setattr(Tiles, "mark", failing)
    if failures == 1:
        assert compared(2).is_compared
        return
    with pytest.raises(UnfinishedError, match=r"tile \d+, \d+"):
        compared(0)
    monkeypatch.undo()
    again = compared(0)
    assert again.is_compared
    assert again.receipt.tiles > failures
