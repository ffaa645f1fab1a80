"""The same tables on every scheduler, with workers that come late or are killed, and where another one goes on.

Two thousand pictures in 210 tiles; 60,000 of them, every scheduler and 20 runs whose workers are killed in the long
form, `make test-cluster`. In the short one workers die in tests/whole/test_crash.py.
"""

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import dupegrid
from dupegrid.app import terminal as terminal_module
from dupegrid.pairs import compare as compare_module
from dupegrid.pairs import grid as grid_module
from tests.benchmarks.collection import make_run
from tests.helpers.forks import forked_workers

LONG = bool(os.environ.get("DUPEGRID_LONG"))
IMAGES, TILE, THUMB = (60_000, 2048, 32) if LONG else (2_000, 100, 16)
KILLS = int(os.environ.get("DUPEGRID_KILLS", "20"))
only_long = pytest.mark.skipif(not LONG, reason="takes minutes: make test-cluster")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("indexed") / "run", IMAGES, tile=TILE, thumb=THUMB, threshold=200.0)


@pytest.fixture(scope="module")
def expected(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """What threads make of it, with tiles of another size."""
    out = shutil.copytree(indexed, tmp_path_factory.mktemp("expected") / "run")
    dupegrid.compare(out, tile=IMAGES, quiet=True)
    return dupegrid.cluster(out)


@pytest.fixture
def out(indexed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(indexed, tmp_path / "run")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One worker, a fork, which is started again when it dies."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with forked_workers(), LocalCluster(**options, host="127.0.0.1") as made:
        yield made


def workers(cluster: LocalCluster, count: int) -> Client:
    """A client of a cluster with so many workers."""
    cluster.scale(count)
    client = Client(cluster, set_as_default=False)
    client.wait_for_workers(count)
    return client


def assert_as_expected(out: Path, expected: dupegrid.Run) -> None:
    run = dupegrid.cluster(out)
    assert len(run.matches) > 10
    assert run.matches == expected.matches
    assert run.clusters == expected.clusters
    pairs = dict(run.receipt.pairs)
    assert pairs.pop("total") == sum(pairs.values()) == IMAGES * (IMAGES - 1) // 2


class StoppedError(Exception):
    """Ends a run in its middle."""


@contextmanager
def after_tiles(monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], None]) -> Iterator[None]:
    """Do something when so many tiles have been finished."""
    stage = terminal_module.Terminal.stage

    @contextmanager
    def watched(self: Any, name: str, *more: Any) -> Iterator[Callable[[int], None]]:
        left = count if name == "compare" else -1
        with stage(self, name, *more) as advance:

            def counted(units: int) -> None:
                nonlocal left
                advance(units)
                left -= 1
                if left == 0:
                    act()

            yield counted

    with monkeypatch.context() as patch:
        patch.setattr(terminal_module.Terminal, "stage", watched)
        yield


def stop() -> None:
    raise StoppedError


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """The marks of finished tiles, and which files they are: others, if a tile is done again."""
    found = [path.stat() for path in sorted((out / "tiles.zarr").glob("c.*"))]
    names = [path.name for path in sorted((out / "tiles.zarr").glob("c.*"))]
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in zip(names, found, strict=True)}


@pytest.mark.slow
def test_what_is_finished_stays_so_when_workers_memory_and_scheduler_change(
    out: Path, expected: dupegrid.Run, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun by two threads, gone on with by a cluster to which a worker comes late, finished by four in no memory."""
    with after_tiles(monkeypatch, 20, stop), pytest.raises(StoppedError):
        dupegrid.compare(out, workers=2, memory="4GB", quiet=True)
    assert len(marks(out)) >= 20
    before = marks(out)
    with workers(cluster, 1) as client:

        def come() -> None:
            cluster.scale(2)

        with (
            after_tiles(monkeypatch, 30, stop),
            after_tiles(monkeypatch, 10, come),
            pytest.raises(StoppedError),
        ):
            dupegrid.compare(out, client=client, quiet=True)
    assert {**marks(out), **before} == marks(out)
    before = marks(out)
    assert len(before) >= 40
    run = dupegrid.compare(out, scheduler="threads", workers=4, memory="1MB", quiet=True)
    assert {**marks(out), **before} == marks(out)
    assert len(before) < len(marks(out)) == run.receipt.tiles
    assert_as_expected(out, expected)


@only_long
def test_workers_that_are_killed_at_random_change_nothing(
    indexed: Path, tmp_path: Path, expected: dupegrid.Run, cluster: LocalCluster
) -> None:
    chance = random.Random(os.environ.get("DUPEGRID_SEED", "7"))
    for number in range(KILLS):
        out, over, killed = shutil.copytree(indexed, tmp_path / f"run{number}"), threading.Event(), []

        def kill(over: threading.Event, killed: list[int]) -> None:
            while not over.wait(chance.uniform(0.2, 1.5 if LONG else 0.5)) and len(killed) < 3:
                for nanny in chance.sample(list(cluster.workers.values()), 1):
                    with suppress(ProcessLookupError, TypeError):  # it has none for now
                        os.kill(nanny.pid, signal.SIGKILL)
                        killed.append(nanny.pid)

        with workers(cluster, 2) as client:
            killer = threading.Thread(target=kill, args=(over, killed))
            killer.start()
            try:
                dupegrid.compare(out, client=client, quiet=True)
            finally:
                over.set()
                killer.join()
        assert_as_expected(out, expected)
        shutil.rmtree(out)


@only_long
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes", "local", "tcp"])
def test_the_same_tables_on_every_scheduler(
    out: Path, expected: dupegrid.Run, cluster: LocalCluster, scheduler: str, count: int
) -> None:
    if scheduler == "tcp":
        with workers(cluster, count):
            dupegrid.compare(out, scheduler=cluster.scheduler_address, quiet=True)
    else:
        dupegrid.compare(out, scheduler=scheduler, workers=count, quiet=True)
    assert_as_expected(out, expected)


def test_the_cut_into_tiles_knows_of_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is of cores and memory, the layout that is written down is the same, where no `tile` says it."""
    monkeypatch.setattr(grid_module, "_LEAST", 50)  # so few images would be one strip, and one block
    monkeypatch.setattr(compare_module, "_BLOCK", 8)
    out, found = make_run(tmp_path / "run", 300, thumb=THUMB, threshold=200.0), set()
    for settings in ({"workers": 1}, {"workers": 64, "memory": "1MB"}, {"scheduler": "sync", "memory": "64GB"}):
        run = dupegrid.compare(out, quiet=True, **settings)
        found.add(run.run_dir.tiles_keys())
        assert run.receipt.tiles > 3
    assert len(found) == 1
