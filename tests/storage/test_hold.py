"""A run that is over writes nothing more: interrupted, killed, or overtaken by another run in the same directory."""

import fcntl
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import dupegrid
from dupegrid.core import runtime as runtime_module
from dupegrid.core.errors import DupegridError, SupersededError
from dupegrid.images import chunk
from dupegrid.storage.files import write_bytes
from dupegrid.storage.hold import check_hold, writing_for
from dupegrid.storage.lock import locked
from tests.conftest import save
from tests.whole.test_decoys import contents

SETTINGS: dict[str, Any] = {"quiet": True, "thumb": 8, "tile": 4, "cutoff": 500.0}


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk: what file systems do is the point of these tests."""
    return disk_path


def draw(folder: Path, first: int, count: int) -> Path:
    """Pictures of which every two are equal."""
    for k in range(first, first + count):
        save(folder / f"{k:03d}.png", k // 2)
    return folder


def without_lock(run_dir: Path) -> dict[str, object]:
    return {path: data for path, data in contents(run_dir).items() if not path.endswith("/lock")}


@pytest.mark.parametrize("how", ["interrupt", "error"])
def test_threads_of_an_interrupted_run_write_nothing_into_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, how: str
) -> None:
    before_all = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before_all))
    photos, out = draw(tmp_path / "photos", 0, 24), tmp_path / "run"
    decode_files, at_work, go_on = chunk.decode_files, threading.Event(), threading.Event()
    first_run = True

    def slow(files: Any, *arguments: Any) -> Iterator[Any]:
        if not first_run:
            yield from decode_files(files, *arguments)
            return
        found = list(decode_files(files, *arguments))
        if at_work.is_set() and how == "error":
            raise DupegridError("something")
        at_work.set()
        go_on.wait(30)
        yield from found

    def interrupt() -> None:
        at_work.wait(30)
        time.sleep(0.2)
        if how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(chunk, "decode_files", slow)
    monkeypatch.setattr(runtime_module, "_PATIENCE_S", 0.5)
    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises((KeyboardInterrupt, DupegridError)):
        dupegrid.run(photos, out=out, workers=2, **SETTINGS)
    watcher.join()
    first_run = False
    shutil.rmtree(photos)
    draw(photos, 100, 24)
    run = dupegrid.run(photos, out=out, **SETTINGS)
    before = without_lock(out)
    go_on.set()
    deadline = time.monotonic() + 20
    while _busy(slow) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert without_lock(out) == before
    fresh = dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS)
    assert run.matches.num_rows == fresh.matches.num_rows == 12


def _busy(function: Any) -> bool:
    """Whether some thread is inside a function."""
    for frame in sys._current_frames().values():
        while frame is not None:
            if frame.f_code is function.__code__:
                return True
            frame = frame.f_back  # type: ignore[assignment]
    return False


def work_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, list[Any]]]:
    """What stages hand out from now on: a task and its items."""
    found: list[Any] = []
    each = runtime_module._Local.each

    def seen(self: Any, task: Any, items: Any, on_done: Any) -> Any:
        found.append((task, list(items)))
        return each(self, task, items, on_done)

    monkeypatch.setattr(runtime_module._Local, "each", seen)
    return found


@pytest.mark.parametrize("live", [False, True])
def test_a_tile_of_an_earlier_comparison_that_ends_late_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """A worker outlives its client: its last tile comes to its end when another run has come to its own."""
    photos, out, handed_out = draw(tmp_path / "photos", 0, 24), tmp_path / "run", work_of(monkeypatch)
    dupegrid.run(photos, out=out, orientations="all", **{**SETTINGS, "cutoff": 60000.0})
    _, (compare_tile, tiles) = handed_out
    assert len(tiles) > 1
    dupegrid.compare(out, orientations="none", cutoff=300.0, threshold=50.0, quiet=True)
    run = dupegrid.open_run(out)
    before, matches = without_lock(out), run.matches
    for tile in tiles:
        with locked(out) if live else nullcontext(), pytest.raises(SupersededError, match="another run"):
            compare_tile(tile)
    assert without_lock(out) == before
    assert dupegrid.open_run(out).matches == matches


def test_a_part_of_another_comparison_is_never_read(tmp_path: Path) -> None:
    """Whatever the file system did with the order of writes: a part says whose it is, and so does a mark."""
    photos, out = draw(tmp_path / "photos", 0, 24), tmp_path / "run"
    dupegrid.run(photos, out=out, orientations="all", **{**SETTINGS, "cutoff": 60000.0})
    old = shutil.copytree(out, tmp_path / "old")
    dupegrid.run(photos, out=out, **{**SETTINGS, "cutoff": 300.0}, orientations="none")
    matches = dupegrid.open_run(out).matches
    for name in ("matches.parquet", "tiles.zarr"):
        for file in (old / name).glob("*0000*" if name[0] == "m" else "c.*"):
            shutil.copy(file, out / name / file.name)
    with pytest.raises(DupegridError, match="another comparison"):
        _ = dupegrid.open_run(out).matches
    again = dupegrid.run(photos, out=out, **{**SETTINGS, "cutoff": 300.0}, orientations="none")
    assert again.matches == matches
    assert dupegrid.open_run(out).matches == matches


def test_what_waits_to_be_renamed_when_another_takes_over_is_gone(tmp_path: Path) -> None:
    """The last moment: the old token was seen, and then the process stood still."""
    out = tmp_path / "run"
    with locked(out) as hold:
        write_bytes(out / "receipt.json", b'{"made_by": "dupegrid", "x": 1}')
    replace_file, waited = os.replace, []

    def late(source: Path, target: Path) -> None:
        waited.append(source)
        os.replace = replace_file
        with locked(out):
            assert not Path(source).exists()
        replace_file(source, target)

    with locked(out) as hold, writing_for(hold):
        os.replace = late
        try:
            # The next holder must wait for this one's lock, which a killed client's worker does not have.
            real, fcntl.flock = fcntl.flock, lambda *_: None
            with pytest.raises((FileNotFoundError, SupersededError)):
                write_bytes(out / "receipt.json", b'{"made_by": "dupegrid", "x": 2}')
        finally:
            fcntl.flock, os.replace = real, replace_file
    assert waited
    assert (out / "receipt.json").read_bytes() == b'{"made_by": "dupegrid", "x": 1}'


def test_a_run_directory_that_is_renamed_in_the_middle_leaves_no_stub(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(SupersededError, match="no longer there"), locked(out):  # noqa: PT012
        out.rename(tmp_path / "moved")
        out.mkdir()
        check_hold()
    assert list(out.iterdir()) == []


def test_the_lock_ends_with_the_run_and_not_with_its_forks(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with locked(tmp_path / "run"):
        child = context.Process(target=time.sleep, args=(30,))
        child.start()
    try:
        with locked(tmp_path / "run"):
            pass
    finally:
        child.kill()
        child.join()
