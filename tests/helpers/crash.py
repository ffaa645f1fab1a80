"""Runs that are killed, starved of disk or damaged, and what they leave: `make test-crash`, shorter in `make test`.

Each point forks from here, so that it starts at once; the fork leads a process group, which is killed whole.
"""

import builtins
import errno
import fcntl
import hashlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from distributed import Client, LocalCluster
from distributed.chaos import KillWorker

import dupegrid
from dupegrid.core.errors import DupegridError
from dupegrid.storage.arrays import Tiles
from tests.benchmarks.collection import make_run
from tests.conftest import save
from tests.helpers.forks import in_clean_fork, in_fork
from tests.helpers.tasks import waited_until

SETTINGS: dict[str, Any] = {"quiet": True, "tile": 8, "cutoff": 500.0, "orientations": "rotations", "thumb": 16}


def draw(folder: Path, first: int, count: int) -> None:
    """Pictures of which about every third has a twin."""
    for k in range(first, first + count):
        save(folder / f"{k:03d}.png", k + 1 if k % 3 == 0 else k)


def tables(run_dir: Path) -> str:
    """A digest of the tables of a finished run, each sorted."""
    run = dupegrid.open_run(run_dir)
    assert run.is_compared
    assert run.is_clustered
    parts = [
        run.images.to_pylist(),
        run.matches.to_pylist(),
        run.clusters.to_pylist(),
        run.stored_thumbs.rows(slice(None)).tobytes(),
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()


def kill() -> None:
    """End the process group."""
    os.killpg(0, signal.SIGKILL)
    time.sleep(60)


def fail(code: int) -> None:
    """Fail as the system does."""
    raise OSError(code, os.strerror(code))


def struck_at(number: int, blow: Callable[[], None], reads: bool = False) -> Callable[[], bool]:
    """From now on, `blow` falls just before write `number`, or read; an opened file is left half written.

    Returns what tells whether it has fallen.
    """
    count = 0

    def watched(
        function: Callable[..., Any], is_write: Callable[..., bool] = lambda *_a, **_k: True
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if is_write(*arguments, **options):
                count += 1
                if count == number:
                    if function is real_open and not reads:
                        with real_open(*arguments, **options) as file:
                            file.write(b"half" if "b" in file.mode else "half")
                    blow()
            return function(*arguments, **options)

        return call

    real_open = builtins.open
    for name in ("preadv", "scandir") if reads else ("replace", "unlink", "rmdir", "mkdir", "fsync", "ftruncate"):
        setattr(os, name, watched(getattr(os, name)))
    builtins.open = watched(real_open, lambda _file, mode="r", *_a, **_k: ("r" not in mode) != reads)  # type: ignore[assignment]
    return lambda: count >= number


class Case:
    """A folder of pictures, a run directory to start from, and the tables that a run must end with."""

    def __init__(self, folder: Path, incremental: bool, pictures: int = 20) -> None:
        self.photos, self.start = folder / "photos", folder / "start"
        self.settings = {**SETTINGS, "scheduler": "sync", "matrix": not incremental}
        draw(self.photos, 0, pictures)
        if incremental:
            self.run(self.start)
            (self.photos / "004.png").unlink()
            save(self.photos / "007.png", 90)
            (self.photos / "010.png").rename(self.photos / "moved.png")
            draw(self.photos, 30, pictures // 2 - 1)
        whole = self.new(folder / "whole")
        self.run(whole)  # here, so that forks have all that a run imports
        self.expected = tables(whole)

    def new(self, out: Path) -> Path:
        """A run directory to start from."""
        shutil.rmtree(out, ignore_errors=True)
        if self.start.exists():
            shutil.copytree(self.start, out)
        return out

    def run(self, out: Path, **settings: object) -> None:
        """Run, or go on with, a run directory."""
        dupegrid.run(self.photos, out=out, **{**self.settings, **settings})

    def ends_well(self, out: Path) -> bool:
        """Whether going on, here, ends with the tables of an uninterrupted run, and without litter."""
        try:
            self.run(out)
            if tables(out) != self.expected:
                return False
        except Exception:
            traceback.print_exc()
            return False
        return not [path for path in out.rglob("*") if path.name.startswith(".") or path.name.endswith(".partial")]


def kill_at_every_write(case: Case, folder: Path, step: int = 1, first: int = 1) -> tuple[int, int]:
    """Kill a run at its N-th write, N = first, first + step, ... until one survives: points, how many ended badly."""
    bad = 0
    for points, number in enumerate(range(first, 100_000, step)):
        out = case.new(folder / "run")

        def work(number: int = number, out: Path = out) -> None:
            struck_at(number, kill)
            case.run(out)

        if in_fork(work) == 0:
            return points, bad
        bad += not case.ends_well(out)
    raise AssertionError("no run survived")


def fail_once(case: Case, folder: Path, code: int, reads: bool, step: int) -> tuple[int, int, int]:
    """Fail one read or write of a run: points, how many runs did not stop cleanly or go on, how many ended badly."""
    unclean = bad = 0
    for points, number in enumerate(range(1, 100_000, step)):
        out = case.new(folder / "run")

        def work(number: int = number, out: Path = out) -> None:
            has_fallen = struck_at(number, lambda: fail(code), reads)
            with suppress(OSError, DupegridError):
                case.run(out)
            os._exit(0 if has_fallen() else 2)

        ended = in_fork(work)
        if ended == 2:
            return points, unclean, bad
        unclean += ended != 0
        bad += not case.ends_well(out)
    raise AssertionError("no run came to its end")


def kill_workers(case: Case, folder: Path, runs: int, workers: int, mode: str) -> tuple[int, int, int]:
    """Run on clusters whose workers keep dying: runs, how many stopped and were gone on with, how many ended badly."""
    stopped = bad = 0
    for _ in range(runs):
        out = case.new(folder / "run")
        stopped += in_clean_fork(_on_dying_workers, case, out, workers, mode) != 0
        bad += not case.ends_well(out)
    return runs, stopped, bad


def _on_dying_workers(case: Case, out: Path, workers: int, mode: str) -> None:
    signal.alarm(30 * workers)  # a worker may hang when it ought to die; whoever waits for it then is stopped
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    # Forked (tests/helpers/forks.py says what is imported before), or they would die while they import.
    distributed.utils._forkserver_preload_set = True
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    dask.config.set({"distributed.scheduler.allowed-failures": workers})  # each may die once at a task
    with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster) as client:
        client.register_plugin(KillWorker(delay="1 s", mode=mode))
        case.run(out, scheduler=cluster.scheduler_address)


def kill_at_random(case: Case, folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill runs with threads at random times: kills, and how many ended badly."""
    chance = random.Random(seed)
    start = time.monotonic()
    assert in_fork(lambda: case.run(case.new(folder / "run"), scheduler="threads")) == 0
    length = time.monotonic() - start
    done = bad = 0
    while done < kills:
        out = case.new(folder / "run")
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            case.run(out, scheduler="threads")
            os._exit(0)
        time.sleep(chance.uniform(0, length))
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL:
            done += 1
            waited_until(partial(_is_free, out / "lock"))  # a decoder that it had just forked may take longer to die
            bad += not case.ends_well(out)
    return done, bad


def _is_free(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def flip_bits(case: Case, folder: Path, flips: int, seed: int) -> dict[str, int]:
    """Flip single bits of a finished run: how often that was an error, mended, or harmless; 'changed' must stay 0."""
    chance = random.Random(seed)
    whole, out = case.new(folder / "finished"), folder / "run"
    assert in_fork(lambda: case.run(whole)) == 0
    files = sorted(path for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    counts = {"error": 0, "harmless": 0, "changed": 0}
    for number in range(flips):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole, out)
        sizes = [path.stat().st_size if number % 2 else 1 for path in files]
        file = out / chance.choices(files, sizes)[0].relative_to(whole)
        data = bytearray(file.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        seen = _outcome(lambda: tables(out), case.expected)
        again = _outcome(lambda: (case.run(out), tables(out))[1], case.expected)
        counts["changed" if "changed" in (seen, again) else "error" if "error" in (seen, again) else "harmless"] += 1
        if "changed" in (seen, again):
            print(f"changed by a bit in {file.relative_to(out)}: read {seen}, run {again}", file=sys.stderr)
    return counts


def _outcome(work: Callable[[], str], expected: str) -> str:
    try:
        return "harmless" if work() == expected else "changed"
    except (dupegrid.DupegridError, AssertionError):
        return "error"


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of so many bytes in memory. OSError where one may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.system(f"mount -t tmpfs -o size={size_bytes} tmpfs '{folder}' 2>/dev/null"):
        raise OSError("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        os.system(f"umount -l '{folder}'")


def fill_disks(case: Case, folder: Path, passes: int, seed: int) -> tuple[int, int, int]:
    """Run on disks that are too small, then with room: passes, how many did not stop cleanly, how many ended badly."""
    chance = random.Random(seed)
    unclean = bad = 0
    needed = sum(path.stat().st_size for path in case.new(folder / "sized").rglob("*"))
    assert in_fork(lambda: case.run(folder / "sized")) == 0
    needed = sum(-(-path.stat().st_size // 4096) * 4096 for path in (folder / "sized").rglob("*"))
    for number in range(passes):
        with small_disk(folder / f"disk{number}", chance.randrange(needed // 10, needed * 9 // 10)) as disk:
            out = disk / "run"

            def starved(out: Path = out) -> None:
                ended = "No space left on device; what was finished is kept|the disk has .* left: leave --matrix out"
                with pytest.raises(DupegridError, match=ended):
                    case.run(out)

            unclean += in_fork(starved) != 0
            os.system(f"mount -o remount,size={4 * needed} '{disk}'")
            bad += not case.ends_well(out)
    return passes, unclean, bad


def kill_half_way(run_dir: Path, tile: int) -> tuple[int, int, int]:
    """Kill a comparison at half of its tiles and go on: tiles, marks at the kill, tiles done after it."""
    settings = {"quiet": True, "tile": tile, "threshold": 50.0, "cutoff": 50.0, "orientations": "none", "workers": 2}
    strips = -(-len(dupegrid.open_run(run_dir).thumbs) // tile)

    def marks() -> int:
        return len(list((run_dir / "tiles.zarr").glob("c.*")))

    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        dupegrid.compare(run_dir, **settings)
        os._exit(0)
    while marks() < strips * (strips + 1) // 4:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended before it could be killed"
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    at_kill, again, mark = marks(), 0, Tiles.mark

    def counted(*arguments: Any) -> None:
        nonlocal again
        again += 1
        mark(*arguments)

    Tiles.mark = counted  # type: ignore[method-assign]
    try:
        dupegrid.compare(run_dir, **settings)
    finally:
        Tiles.mark = mark  # type: ignore[method-assign]
    return marks(), at_kill, again


Trial = Callable[[Case, Path], tuple[str, bool]]


def trials(short: bool, mode: str = "segfault") -> dict[str, Trial]:
    """What is done to runs of a case, by name -> what came of it, and whether that is well.

    The long form: every write, a hundred kills, two hundred flips, ten full disks.
    """

    def at_writes(case: Case, folder: Path) -> tuple[str, bool]:
        points, bad = kill_at_every_write(case, folder, *((26, 5) if short else (1, 1)))
        return f"{points} points, {bad} differences", not bad and points > 4

    def at_random(case: Case, folder: Path) -> tuple[str, bool]:
        kills, bad = kill_at_random(case, folder, 2 if short else 50, 1)
        return f"{kills} kills, {bad} differences", not bad

    def failing(code: int, reads: bool) -> Trial:
        def once(case: Case, folder: Path) -> tuple[str, bool]:
            points, unclean, bad = fail_once(case, folder, code, reads, (80 if reads else 56) if short else 3)
            said = f"{points} points, {unclean} stopped otherwise, {bad} differences"
            return said, not unclean and not bad and points > 1

        return once

    def workers(case: Case, folder: Path) -> tuple[str, bool]:
        runs, stopped, bad = kill_workers(case, folder, *((1, 2) if short else (5, 3)), mode)
        return f"{runs} runs, {stopped} stopped, {bad} differences", not bad

    def bits(case: Case, folder: Path) -> tuple[str, bool]:
        counts = flip_bits(case, folder, 10 if short else 200, 2)
        return f"{counts}", not counts["changed"]

    return {
        "killed at its writes": at_writes,
        "killed at random": at_random,
        **{
            f"with {os.strerror(code)} at one {'read' if reads else 'write'}": failing(code, reads)
            for code, reads in ((errno.EIO, False), (errno.EIO, True), (errno.EMFILE, True))
        },
        "whose workers die": workers,
        "with a bit flipped": bits,
    }


def on_small_disks(case: Case, folder: Path, short: bool) -> tuple[str, bool]:
    """OSError where no file system may be mounted."""
    passes, unclean, bad = fill_disks(case, folder, 2 if short else 10, 3)
    return f"{passes} passes, {unclean} stopped otherwise, {bad} differences", not unclean and not bad


def half_way(folder: Path, short: bool) -> tuple[str, bool]:
    images, tile = (2000, 200) if short else (20_000, 1000)
    tiles, at_kill, again = kill_half_way(make_run(folder / "large", images), tile)
    return f"{tiles} tiles, {at_kill} marked, {again} after", at_kill + again == tiles


def main() -> None:
    """The long form of all."""
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]  # as in tests/conftest.py
    faults: list[str] = []

    def found(what: str, came: tuple[str, bool]) -> None:
        print(f"{what}: {came[0]}", flush=True)
        if not came[1]:
            faults.append(f"{what}: {came[0]}")

    with tempfile.TemporaryDirectory() as name:
        for kind in ("first", "incremental"):
            folder = Path(name) / kind
            case = Case(folder, incremental=kind == "incremental")
            for what, trial in trials(short=False).items():
                found(f"{kind} run {what}", trial(case, folder))
            gracefully = trials(short=False, mode="graceful")["whose workers die"]
            found(f"{kind} run whose workers end gracefully", gracefully(case, folder))
            if kind == "first":
                try:
                    found("disk full", on_small_disks(case, folder, short=False))
                except OSError as error:
                    print(f"disk full: not tried, {error}")
        found("compare killed half way", half_way(Path(name), short=False))
    sys.exit("\n".join(["", "these are faults:", *faults]) if faults else 0)


if __name__ == "__main__":
    main()
