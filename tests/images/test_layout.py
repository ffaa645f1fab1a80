"""Chunks grow with the collection, and laying them out again can be killed anywhere."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import dupegrid
from dupegrid.images import index as index_module
from dupegrid.images import rechunk
from dupegrid.images.merge import Merged
from tests.conftest import EVERY, noise
from tests.images.test_identity import SETTINGS, assert_every_row_is_of_its_file
from tests.whole.test_resume import by_path


def parts(run_dir: Path) -> int:
    return len(list((run_dir / "index").glob("part-*")))


def test_a_run_that_began_small_has_not_more_files_than_another(tmp_path: Path, opened: list[str]) -> None:
    """M2."""
    photos = tmp_path / "photos"
    noise(photos / "0.bmp", 0)
    dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    for many in (40, 400):
        for k in range(many):
            noise(photos / f"{k}.bmp", k)
        opened.clear()
        (photos / "39.bmp").unlink()
        run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    fresh = dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS)
    assert by_path(run) == by_path(fresh)
    assert parts(run.path) <= 2 * parts(fresh.path)
    assert not (run.path / "relaid").exists()
    assert (run.thumbs_of(np.array([0, 5]))[0] == fresh.thumbs_of(np.array([0]))[0]).all()


@pytest.mark.slow
def test_laying_out_again_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """Killed anywhere in it: nothing is decoded twice or lost, a row that cannot be made again neither."""
    photos, whole = tmp_path / "photos", tmp_path / "whole"
    for k in range(10):
        noise(photos / f"{k}.bmp", k)
    dupegrid.run(photos, out=whole, **SETTINGS)
    (photos / "3.bmp").unlink()
    before = dupegrid.run(photos, out=whole, **SETTINGS)
    rows = before.images
    monkeypatch.setattr(index_module, "chunk_size", lambda *_: 16)
    noise(photos / "new.bmp", 50)
    for stop_at in range(0, 1000, EVERY):
        opened.clear()
        out = tmp_path / f"run{stop_at}"
        shutil.copytree(whole, out)
        with monkeypatch.context() as patch:
            steps = iter(range(1000))
            for name in ("remove", "write_table", "write_chunk", "create_stores"):
                patch.setattr(rechunk, name, stopping(getattr(rechunk, name), steps, stop_at))
            patch.setattr(os, "replace", stopping(os.replace, steps, stop_at))
            patch.setattr(index_module, "Merged", lambda *args: (patch.undo(), Merged(*args))[1])
            try:
                dupegrid.run(photos, out=out, **SETTINGS)
                finished = True
            except StoppedError:
                finished = False
        monkeypatch.setattr(index_module, "chunk_size", lambda *_: 16)
        again = dupegrid.run(photos, out=out, **SETTINGS)
        assert opened == ["new.bmp"], stop_at
        assert again.images.slice(0, 10) == rows
        assert_every_row_is_of_its_file(again)
        assert parts(out) == 1
        assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
        if finished:
            break
    assert stop_at > 20


class StoppedError(Exception):
    """What ends a run; a KeyboardInterrupt, which is raised in the main thread alone, would end zarr's thread."""


def stopping(act: Callable[..., object], steps: Iterator[int], stop_at: int) -> Callable[..., object]:
    """A function that stops the run before or after it has acted, at the step with this number."""

    def call(*arguments: object, **options: object) -> object:
        if next(steps) == stop_at:
            raise StoppedError
        result = act(*arguments, **options)
        if next(steps) == stop_at:
            raise StoppedError
        return result

    return call


def test_chunks_stay_countable() -> None:
    """A million photos of 3 MB were 1.5 million files."""
    for images, size in ((1_000_000, 3_000_000), (100_000, 50_000_000), (8_000_000, 10)):
        assert images / index_module.chunk_size(images, images * size) <= 16_384
    assert index_module.chunk_size(100, 100 * 20_000_000) == 4
    assert index_module.chunk_size(20_000_000, 1) == 512
