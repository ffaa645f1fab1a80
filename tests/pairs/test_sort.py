"""Sorting slab by slab and window by window gives what sorting at once gives."""

from pathlib import Path

import numpy as np
import pytest

from dupegrid.pairs import sort
from dupegrid.pairs.ask import read_facts
from dupegrid.storage.run_dir import RunDir
from tests.benchmarks import collection


def test_small_windows_give_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = collection.sources()[:3] if collection.sources.cache_info().currsize else collection.sources(3)
    monkeypatch.setattr(collection, "sources", lambda: few)
    collection.make_run(tmp_path / "run", 300, thumb=16)
    turns = ("identity", "rot90")

    def sorted_arrays() -> dict[str, np.ndarray]:
        run_dir = RunDir(tmp_path / "run")
        (run_dir.sorted_zarr / "zarr.json").unlink(missing_ok=True)
        groups = np.arange(len(read_facts(run_dir).live)) % 2
        sort.sort_images(run_dir, 16, groups, turns, 32, run_dir.images_key())
        store = run_dir.order()
        return {name: store.rows(name) for name in store.names}

    whole = sorted_arrays()
    ids = whole[sort.ORDER][:, 0]
    assert sorted(ids.tolist()) == list(range(300))
    assert (np.diff(ids % 2) >= 0).all()
    for name, size in (("_SLAB", 64), ("WINDOW_BYTES", 1), ("_CHUNK", 100)):
        monkeypatch.setattr(sort, name, size)
    parts = sorted_arrays()
    assert parts.keys() == whole.keys()
    for name, rows in whole.items():
        np.testing.assert_array_equal(parts[name], rows)
