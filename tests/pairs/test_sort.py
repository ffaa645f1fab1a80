"""Sorting slab by slab and window by window gives what sorting at once gives; its threads write for their run only."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dupegrid.core.errors import SupersededError
from dupegrid.pairs import sort
from dupegrid.pairs.ask import read_facts
from dupegrid.storage.arrays import Arrays
from dupegrid.storage.hold import Hold, writing_for
from dupegrid.storage.places import LOCK
from dupegrid.storage.run_dir import RunDir
from tests.benchmarks import collection


def test_small_windows_give_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = collection.sources(3)
    monkeypatch.setattr(collection, "sources", lambda _: few)
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


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("starts", []),
        ("starts", [5]),
        ("starts", [0]),  # one block, larger than any that compiled loops have room for
        ("starts", [0, 30, 10, 20]),
        ("starts", [0, 10**30]),
        ("starts", "none"),
        ("boxes", []),
        ("boxes", [[[1, 2], [3]]]),
        ("boxes", [[[1e300] * 24] * 2]),
        ("boxes", [[[float("nan")] * 24] * 2]),
        ("boxes", {"a": 1}),
    ],
)
def test_blocks_and_boxes_that_are_none_are_made_again(tmp_path: Path, fact: str, value: Any) -> None:
    """Whoever signed them: images in no block would be compared with none."""
    run_dir = RunDir(collection.make_run(tmp_path / "run", 40, thumb=8))

    def laid_out() -> sort.Order:
        return sort.sort_images(run_dir, 8, np.zeros(40, np.int64), ("identity",), 12, run_dir.images_key())

    order, store = laid_out(), run_dir.order()
    facts = {name: store.fact(name) for name in ("starts", "order", "chunks", "boxes")}
    store.sign(store.fact("key"), **{**facts, fact: value})
    run_dir.renew()
    again = laid_out()
    np.testing.assert_array_equal(again.starts, order.starts)
    np.testing.assert_array_equal(again.lows, order.lows)
    np.testing.assert_array_equal(again.highs, order.highs)
    assert run_dir.order().fact(fact) == facts[fact]


def test_threads_of_a_run_that_is_over_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = collection.make_run(tmp_path / "run", 40, thumb=8)
    run_dir, write = RunDir(out), sort._write

    def overtaken(*args: Any) -> None:
        (out / LOCK).write_bytes(b"another run")
        write(*args)

    monkeypatch.setattr(sort, "_write", overtaken)
    (out / LOCK).write_bytes(b"this run")
    with writing_for(Hold(out, "this run")), pytest.raises(SupersededError):
        sort.sort_images(run_dir, 8, np.zeros(40, np.int64), ("identity",), 512, run_dir.images_key())
    assert not list(run_dir.sorted_zarr.glob("*/c.*"))


def test_few_images_among_many_others_are_read_a_slab_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most may be unreadable, or stood for by another: what is read of levels.zarr stays little."""
    run_dir, read, rows = RunDir(collection.make_run(tmp_path / "run", 600, thumb=8)), [], Arrays.rows

    def counted(store: Arrays, name: str, some: slice = slice(None)) -> np.ndarray:
        read.append(some)
        return rows(store, name, some)

    live = np.array([0, 1, 63, 64, 300, 301, 599])
    monkeypatch.setattr(sort, "_SLAB", 64)
    monkeypatch.setattr(sort, "read_facts", lambda _: SimpleNamespace(live=live))
    monkeypatch.setattr(Arrays, "rows", counted)
    sort.sort_images(run_dir, 8, np.zeros(7, np.int64), ("identity",), 2, run_dir.images_key())
    assert {some.stop - some.start for some in read} == {64, 1, 2}
    assert sorted(run_dir.order().rows(sort.ORDER)[:, 0].tolist()) == live.tolist()
